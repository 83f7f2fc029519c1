"""Lineage of paginated threads: which files, and how much of each, make up a history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from threadstore.stores.local.paths import RolloutFile

__all__ = ["FindRollout", "Lineage", "Segment", "current_rollout", "resolve_lineage"]

FindRollout: TypeAlias = Callable[[str], str | None]
"""Maps a rollout id to the plain path of its file; ``None`` if there is none."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The part of one rollout file that belongs to a history."""

    path: str
    first_position: int
    """Position of the file's first line in the history."""
    lines: int | None
    """How many lines belong; ``None``: all there are."""


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """The segments of a history, root first; the thread's own file is the last one."""

    segments: tuple[Segment, ...]
    problem: str | None = None
    """Why the lines before the first segment are missing."""

    @property
    def inherited(self) -> int:
        """Position before the first line of the thread's own file."""
        return self.segments[-1].first_position - 1


def resolve_lineage(path: str, find_rollout: FindRollout) -> Lineage:
    """Follow ``history_base`` from the thread's current rollout *path* to the root."""
    raise NotImplementedError


def current_rollout(
    files: Iterable[RolloutFile], preferred_path: str | None = None
) -> RolloutFile | None:
    """The file of a thread that stands for it now; *preferred_path* (the row's) if it exists."""
    raise NotImplementedError
