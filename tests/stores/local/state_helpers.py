"""Threads and rows for the tests of Codex's state database."""

from __future__ import annotations

import datetime as dt
from typing import Any

import apsw

from threadstore.clock import UTC
from threadstore.ids import new_thread_id
from threadstore.metadata import (
    MetadataOrigin,
    StoredThread,
    ThreadMetadataPatch,
)
from threadstore.stores.local import state_schema
from threadstore.stores.local.state_db import StateDb
from threadstore.stores.local.state_rows import StateRow

EXPLICIT, OBSERVED = MetadataOrigin.EXPLICIT, MetadataOrigin.OBSERVED
NOW = dt.datetime(2026, 11, 22, 8, 30, 0, 123000, tzinfo=UTC)
NOW_MS = 1_795_336_200_123
SECOND = dt.timedelta(seconds=1)
PROFILE = {"type": "managed", "network": "restricted"}


def migration_row(version: int) -> str:
    known = state_schema.known_migrations()[version]
    return f"INSERT INTO _sqlx_migrations VALUES ({version}, 'x', 'now', 1, x'{known.checksum}', 0)"


def execute(path: str, *statements: str) -> list[Any]:
    connection = apsw.Connection(path)
    rows = [row for statement in statements for row in connection.execute(statement).fetchall()]
    connection.close()
    return rows


def thread(**changes: Any) -> StoredThread:
    values: dict[str, Any] = {
        "id": new_thread_id(),
        "title": "Fix it",
        "preview": "Fix it",
        "first_user_message": "Fix it",
        "created_at": NOW,
        "updated_at": NOW,
        "recency_at": NOW,
        "model_provider": "openai",
        "source": "cli",
    }
    return StoredThread(**{**values, **changes})


def write(
    db: StateDb,
    before: StoredThread,
    origin: MetadataOrigin = EXPLICIT,
    *,
    path: str = "/home/me/rollout.jsonl",
    **fields: Any,
) -> StateRow:
    patch = ThreadMetadataPatch(**fields)
    db.write(patch.apply(before), patch, origin=origin, path=path)
    row = db.read_row(before.id)
    assert row is not None
    return row


def column(path: str, name: str) -> Any:
    return execute(path, f"SELECT {name} FROM threads")[0][0]
