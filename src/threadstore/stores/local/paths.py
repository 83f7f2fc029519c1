"""Where things lie in a Codex home, and what the names of rollout files mean."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from threadstore.errors import StoreUnavailable

__all__ = [
    "Home",
    "RolloutFile",
    "RolloutName",
    "active_path",
    "archived_path",
    "existing_path",
    "find_by_id",
    "find_rollout",
    "make_folders",
    "new_rollout_path",
    "parse_rollout_name",
    "plain_path",
    "rollout_file_name",
    "scan",
    "stat_rollout",
    "unavailable",
]

OnError: TypeAlias = Callable[[str, OSError], None]


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """The folders of one Codex home, as absolute paths. Nothing of it needs to exist."""

    home: str
    sqlite_home: str

    @property
    def sessions(self) -> str:
        return f"{self.home}/sessions"

    @property
    def archived(self) -> str:
        return f"{self.home}/archived_sessions"

    @property
    def name_index(self) -> str:
        return f"{self.home}/session_index.jsonl"

    @property
    def lock_folder(self) -> str:
        return f"{self.home}/thread-writer-locks"

    @property
    def state_db(self) -> str:
        return f"{self.sqlite_home}/state_5.sqlite"

    @property
    def index_db(self) -> str:
        return f"{self.sqlite_home}/threadstore_1.sqlite"


class RolloutName(msgspec.Struct, frozen=True, kw_only=True):
    """What the name of a rollout file says."""

    thread_id: str
    rollout_id: str
    """The thread's id, except for the segment of a revert (``…-<thread>_<rollout>.jsonl``)."""
    stamp: dt.datetime | None
    """Naive local time of creation, in seconds; ``None`` if the name has no readable time."""
    compressed: bool


class RolloutFile(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout file on disk. ``path`` always ends in ``.jsonl``; ``actual_path`` is what exists."""

    path: str
    actual_path: str
    archived: bool
    name: RolloutName | None
    """``None`` for names like ``rollout-foo.jsonl``, which hold no id."""
    size: int
    mtime_ns: int
    inode: int


def unavailable(error: OSError, doing: str) -> StoreUnavailable:
    """The error a caller sees for *error*; *doing* reads like ``"cannot write /x/y"``."""
    raise NotImplementedError


def parse_rollout_name(name: str) -> RolloutName | None:
    """Read a file name (not a path); ``None`` if it is not ``rollout-….jsonl[.zst]`` with an id."""
    raise NotImplementedError


def rollout_file_name(
    local_time: dt.datetime, thread_id: str, rollout_id: str | None = None
) -> str:
    """``rollout-2026-11-22T06-18-27-<thread>[_<rollout>].jsonl``."""
    raise NotImplementedError


def new_rollout_path(home: Home, created_at: dt.datetime, thread_id: str) -> str:
    """The path of a new thread created at *created_at* (aware); folders in local time, as Codex."""
    raise NotImplementedError


def plain_path(path: str) -> str:
    """*path* without ``.zst``."""
    raise NotImplementedError


def existing_path(path: str) -> str | None:
    """The plain or compressed file of *path*, whichever exists (plain first)."""
    raise NotImplementedError


def archived_path(home: Home, path: str) -> str:
    """Where *path* (plain or ``.zst``) goes when its thread is archived: flat, same name."""
    raise NotImplementedError


def active_path(home: Home, path: str) -> str:
    """Where *path* goes when its thread is unarchived: the date folder that its name says.

    Raises InvalidRequest if the name holds no time.
    """
    raise NotImplementedError


def stat_rollout(home: Home, path: str) -> RolloutFile | None:
    """The file of the plain *path* as it is now; ``None`` if neither form exists."""
    raise NotImplementedError


def scan(home: Home, on_error: OnError | None = None) -> Iterator[RolloutFile]:
    """Every rollout file below ``sessions/`` and ``archived_sessions/``, at any depth.

    A compressed file beside its plain form is left out. Symbolic links to folders are not
    followed. Folders that cannot be read go to *on_error*; a missing root is no error.
    """
    raise NotImplementedError


def find_by_id(home: Home, thread_id: str) -> list[RolloutFile]:
    """All files of a thread by name: active before archived, oldest name first."""
    raise NotImplementedError


def find_rollout(home: Home, rollout_id: str) -> str | None:
    """The plain path of the one file with this rollout id (what a ``history_base`` names)."""
    raise NotImplementedError


def make_folders(path: str) -> list[str]:
    """Create the missing folders of *path* with mode 0700 whatever the umask; those made."""
    raise NotImplementedError
