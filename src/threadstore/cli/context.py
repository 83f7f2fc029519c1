"""What every command gets: where to print, and which store to open. Reads the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from threadstore.cli.console import Console

if TYPE_CHECKING:
    import argparse

    from threadstore.store import ThreadStore

__all__ = ["Context", "full_url"]


class Context(NamedTuple):
    """The surroundings of one command."""

    console: Console
    store_url: str
    """With the path of the default home filled in."""

    @classmethod
    def of(cls, args: argparse.Namespace) -> Context:
        """From the parsed arguments and the environment."""
        return cls(Console(), full_url(args.store))

    @property
    def store_name(self) -> str:
        """The store's URL, for people, and whether there is anything at all."""
        home = _home(self.store_url)
        missing = home is not None and not os.path.exists(home)
        return f"{self.store_url} (there is no such folder)" if missing else self.store_url

    def open_store(self, url: str | None = None) -> ThreadStore:
        """The store as an async context manager; *url* instead of the user's one if given."""
        from threadstore.factory import open_store

        url = url or self.store_url
        home = _home(url)
        return open_store(url, **({} if home is None else _local_options(home)))


def _home(url: str) -> str | None:
    """The home that a local URL names; ``None``: it is no local URL."""
    scheme, _, rest = url.partition(":")
    return rest.partition("?")[0] if scheme == "local" else None


def _local_options(home: str) -> dict[str, Any]:
    """What the environment adds. A home that is not there stays away: no index is kept in it."""
    sqlite_home = os.environ.get("CODEX_SQLITE_HOME")
    return {
        "sqlite_home": os.path.abspath(sqlite_home) if sqlite_home else None,
        "use_index_file": os.path.isdir(home),
    }


def full_url(url: str) -> str:
    """As the library takes it, but ``~`` is expanded, and where the path is missing the home is the
    one that Codex would use. It follows symbolic links in ``CODEX_HOME`` only (0.131 to 0.163)."""
    scheme, colon, rest = url.partition(":")
    if not colon or scheme != "local" or rest.startswith("//"):
        return url
    path, mark, options = rest.partition("?")
    named = os.environ.get("CODEX_HOME")
    path = path or (os.path.realpath(named) if named else "~/.codex")
    return f"local:{os.path.abspath(os.path.expanduser(path))}{mark}{options}"
