"""What Codex keeps of a thread outside its state database: turns and items of paginated threads,
goals, queued messages, log lines. A deleted thread takes that along, as with Codex's own delete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from typing import Final

from threadstore.stores.local.database import Database, DatabaseDamaged
from threadstore.stores.local.paths import Home

__all__ = ["without_threads"]

_KEYED_TABLES: Final = {
    "thread_history_1.sqlite": (
        "thread_turns",
        "thread_items",
        "thread_realtime_items",
        "thread_history_projection_state",
    ),
    "goals_1.sqlite": ("thread_goal_continuation_deferrals", "thread_goals"),
    "queue_1.sqlite": ("queued_items",),
    "logs_2.sqlite": ("logs",),
}
"""Tables with a column ``thread_id`` that ``thread/delete`` of Codex 0.148 and 0.163 empties of the
thread. Which of them there are depends on the release."""


@contextlib.contextmanager
def without_threads(
    home: Home, thread_ids: Collection[str], *, busy_timeout: float
) -> Iterator[None]:
    """Remove the threads from these databases when the block ends, unless it raises.

    A database that is missing, damaged or not ours to write is left alone. Raises StoreUnavailable
    if one stays locked.
    """
    keys = [(thread_id,) for thread_id in thread_ids]
    with contextlib.ExitStack() as stack:
        for name, tables in _KEYED_TABLES.items():
            path = os.path.join(home.sqlite_home, name)
            if os.access(path, os.R_OK | os.W_OK):
                with contextlib.suppress(DatabaseDamaged):
                    database = Database(path, busy_timeout=busy_timeout)
                    stack.callback(database.close, tidy=False)
                    _remove(stack, database, tables, keys)
        yield


def _remove(
    stack: contextlib.ExitStack,
    database: Database,
    tables: Collection[str],
    keys: list[tuple[str]],
) -> None:
    known = {name for (name,) in database.rows("SELECT name FROM sqlite_master")}
    if database.readonly or known.isdisjoint(tables):
        return
    stack.enter_context(database.transaction(durable=True))
    for table in tables:
        if table in known:
            database.run_many(f"DELETE FROM {table} WHERE thread_id = ?", keys)
