"""What every command gets: where to print, and which store to open. Reads the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from threadstore.cli.console import Console

if TYPE_CHECKING:
    import argparse

    from threadstore.store import ThreadStore

__all__ = ["Context"]


class Context(NamedTuple):
    """The surroundings of one command."""

    console: Console
    store_url: str
    """With the path of the default home filled in."""

    @classmethod
    def of(cls, args: argparse.Namespace) -> Context:
        """From the parsed arguments and the environment."""
        return cls(Console(), _full_url(args.store))

    def open_store(self, url: str | None = None) -> ThreadStore:
        """The store as an async context manager; *url* instead of the user's one if given."""
        from threadstore.factory import open_store

        sqlite_home = os.environ.get("CODEX_SQLITE_HOME") or None
        return open_store(url or self.store_url, sqlite_home=sqlite_home)


def _full_url(url: str | None) -> str:
    """The library takes no empty path; here it means the home that Codex would use."""
    if url in (None, "", "local", "local:"):
        home = os.environ.get("CODEX_HOME") or os.path.join(os.path.expanduser("~"), ".codex")
        return f"local:{os.path.abspath(home)}"
    return url
