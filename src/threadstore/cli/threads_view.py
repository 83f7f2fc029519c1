"""Rows of threads: a table for people, lines of fields for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from threadstore.cli.console import Console
from threadstore.cli.text import ago, cut, one_line, short_path, timestamp
from threadstore.clock import SystemClock
from threadstore.metadata import StoredThread, source_kind

__all__ = ["print_threads", "short_ids", "source_word"]

_SHORT_ID: Final = 13
"""The first 13 characters of a version 7 id are its time in milliseconds: rarely the same twice."""

_NAME_COLUMNS: Final = 120
"""Enough to recognise a thread by its first message."""


def print_threads(
    console: Console, threads: Sequence[StoredThread], *, created: bool = False
) -> None:
    """Print *threads*; the time is when each was updated, or *created*."""
    if not console.terminal:
        for thread in threads:
            moment = thread.created_at if created else thread.updated_at
            console.record(
                thread.id,
                _name(thread),
                timestamp(moment),
                thread.cwd,
                source_word(thread),
                _branch(thread),
            )
        return
    if not threads:
        return
    from threadstore.cli.table import Column

    now = SystemClock().now()
    rows = [
        (
            short,
            _name(thread) or "(empty)",
            ago(thread.created_at if created else thread.updated_at, now),
            one_line(short_path(thread.cwd)),
            source_word(thread),
            _branch(thread),
        )
        for thread, short in zip(threads, short_ids(threads), strict=True)
    ]
    columns = (
        Column("id"),
        Column("name", least=24, weight=2),
        Column("created" if created else "updated", optional=True),
        Column("directory", least=12, keeps_end=True, optional=True),
        Column("source", least=8, optional=True),
        Column("branch", least=12, optional=True),
    )
    console.table(columns, rows)


def short_ids(threads: Sequence[StoredThread]) -> list[str]:
    """The beginning of each id, long enough to tell these threads apart."""
    size = _SHORT_ID
    while size < 36 and len({thread.id[:size] for thread in threads}) < len(threads):
        size += 1
    return [thread.id[:size] for thread in threads]


def source_word(thread: StoredThread) -> str:
    """The kind of source; of a custom one, its name."""
    if isinstance(thread.source, dict) and isinstance(thread.source.get("custom"), str):
        return one_line(thread.source["custom"])
    return source_kind(thread.source)


def _name(thread: StoredThread) -> str:
    return cut(one_line(thread.display_name), _NAME_COLUMNS)


def _branch(thread: StoredThread) -> str:
    return one_line(thread.git.branch or "") if thread.git else ""
