"""What writers of a shared home were told is done, and whether the home still says so."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator


class Change(msgspec.Struct, frozen=True):
    """One acknowledged change: of what, to what, and from when to when (one clock for all)."""

    thread: str
    what: str
    """``text`` (one more turn), ``name``, ``branch``, ``memory_mode`` or ``archived``."""
    value: str
    began: float
    ended: float


class Ledger(msgspec.Struct):
    """What one process did and saw."""

    changes: list[Change] = []
    done: dict[str, int] = {}
    refused: dict[str, int] = {}
    problems: list[str] = []

    @contextmanager
    def change(self, thread: str, what: str, value: str) -> Iterator[None]:
        """Around a change; entered if it does not raise."""
        began = time.monotonic()
        yield
        self.changes.append(Change(thread, what, value, began, time.monotonic()))

    def count(self, counts: dict[str, int], word: str) -> None:
        """One more."""
        counts[word] = counts.get(word, 0) + 1


def values(changes: Iterable[Change], what: str) -> dict[str, list[str]]:
    """By thread, every value of one kind of change."""
    found = defaultdict(list)
    for change in changes:
        if change.what == what:
            found[change.thread].append(change.value)
    return found


def last_values(changes: Iterable[Change], what: str) -> dict[str, set[str]]:
    """By thread, the values that may stand in the end: those that no later change followed."""
    by_thread = defaultdict(list)
    for change in changes:
        if change.what == what:
            by_thread[change.thread].append(change)
    return {
        thread: {
            change.value
            for change in group
            if not any(other.began > change.ended for other in group)
        }
        for thread, group in by_thread.items()
    }
