"""Which releases the tests run against: two by default, others with ``RELEASES="0.133.0 …"``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from tests.codex.app_server import AppServer
from tests.codex.install import codex_binary

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = "0.131.0 0.169.0"


class Release(NamedTuple):
    """A release of Codex. Ordered as versions are."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, version: str) -> Release:
        """From ``0.131.0``."""
        major, minor, patch = version.split(".")
        return cls(int(major), int(minor), int(patch))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def binary(self) -> Path:
        """The native binary, installed if need be."""
        return codex_binary(str(self))

    @property
    def modes(self) -> tuple[str, ...]:
        """The history modes of threads that it can make."""
        return ("legacy", "paginated") if self >= FIRST_PAGINATED else ("legacy",)

    def serve(self, home: Path, cwd: Path) -> AppServer:
        """An app server of this release on *home*."""
        return AppServer(self.binary, home, cwd)


FIRST_PAGINATED = Release(0, 147, 0)
"""0.145 and 0.146 make such threads when asked, but neither fork them nor read their turns."""


def releases() -> list[Release]:
    """The releases to test."""
    return [Release.parse(word) for word in os.environ.get("RELEASES", DEFAULT).split()]
