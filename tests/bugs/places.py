"""Looking at the files of a home behind the store's back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.stores.local.state_helpers import execute

from threadstore.testing import LocalHarness


def execute_in(harness: LocalHarness, sql: str) -> list[Any]:
    """Another program runs a statement on Codex's database."""
    return execute(f"{harness.home}/state_5.sqlite", sql)


def columns(harness: LocalHarness, thread_id: str, names: str) -> tuple[Any, ...]:
    """Columns of the thread's row in Codex's database."""
    (row,) = execute_in(harness, f"SELECT {names} FROM threads WHERE id = '{thread_id}'")
    return tuple(row)


def set_column(harness: LocalHarness, thread_id: str, column: str, value: str) -> None:
    """Another program changes one column of the thread's row."""
    execute_in(harness, f"UPDATE threads SET {column} = '{value}' WHERE id = '{thread_id}'")


def lose_databases(harness: LocalHarness) -> None:
    """What remains is the rollouts and the name index."""
    for path in Path(harness.home).glob("*.sqlite*"):
        path.unlink()


def content(harness: LocalHarness, *, without: str = "threadstore_1.sqlite") -> dict[str, bytes]:
    """Every file of the home but our own list index, locks and what SQLite keeps in memory."""
    return {
        str(path): path.read_bytes()
        for path in sorted(Path(harness.home).rglob("*"))
        if path.is_file()
        and not path.name.startswith(without)
        and not path.name.endswith((".lock", "-shm"))
    }
