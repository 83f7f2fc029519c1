"""The SQL of this store, by name, from the files in ``sql/``."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Final

__all__ = ["statement", "statements"]

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@functools.cache
def statements(file: str) -> dict[str, bytes]:
    """Every statement of ``sql/FILE.sql``, by name."""
    path = resources.files(__package__).joinpath("sql", f"{file}.sql")
    _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    named = zip(parts[::2], parts[1::2], strict=True)
    return {name: text.strip().encode() for name, text in named}


def statement(file: str, name: str) -> bytes:
    """One statement; a name that does not exist is a KeyError."""
    return statements(file)[name]
