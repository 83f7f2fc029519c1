"""The first filling of a list index: indexes and notes are made at its end, in one go.

Keeping some twenty of them right with each of many threads takes longer than reading the rollouts.
Without them no list can be served, and none is: an index is complete, and says so, when they are
there. Whoever is interrupted leaves rows behind, and whoever comes next goes on from these.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from threadstore.stores.local.database import resource
from threadstore.stores.local.index_db import CACHE, LATER, IndexDb
from threadstore.stores.local.index_files import IndexFiles

__all__ = ["MANY", "finish", "start"]

MANY: Final = 300
"""New files from which on it is worth the while."""
_LARGE_CACHE: Final = "PRAGMA cache_size = -65536"
"""Pages that are touched in turn are written once: the usual would write each often."""


def start(index: IndexDb, files: IndexFiles) -> None:
    """Leave out what can be made later, if the index has just been made."""
    index.rows(_LARGE_CACHE)
    with index.transaction():
        if files.complete() is None and not index.rows("SELECT 1 FROM threads LIMIT 1"):
            for kind, name in _things():
                index.rows(f"DROP {kind} IF EXISTS {name}")


def finish(index: IndexDb, files: IndexFiles, size: int, identity: str) -> None:
    """Make what is missing, and mark the index as complete: see :meth:`IndexFiles.set_complete`."""
    if not _is_whole(index):
        _make(index)
    files.set_complete(size, identity)
    index.rows(CACHE)


def _make(index: IndexDb) -> None:
    for statement in re.findall(r"^CREATE INDEX[^;]+;", resource(LATER), re.MULTILINE):
        index.rows(statement)  # each in a transaction of its own: others need not wait for all
    with index.transaction():
        index.rows(resource(LATER))
        index.rows("INSERT OR IGNORE INTO unread_titles SELECT key FROM threads")
        index.rows(
            "INSERT OR REPLACE INTO changes"
            " SELECT key, number - 1 + row_number() OVER (ORDER BY key) FROM threads, next_change"
        )


def _is_whole(index: IndexDb) -> bool:
    names = [name for _, name in _things()]
    sql = f"SELECT count(*) FROM sqlite_master WHERE name IN ({', '.join('?' * len(names))})"
    return bool(index.rows(sql, names)[0][0] == len(names))


@functools.cache
def _things() -> list[tuple[str, str]]:
    return re.findall(r"^CREATE (INDEX|TRIGGER) IF NOT EXISTS (\w+)", resource(LATER), re.MULTILINE)
