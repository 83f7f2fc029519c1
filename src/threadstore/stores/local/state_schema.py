"""What a ``state_5.sqlite`` is like: its migrations and columns; and how a new one is made."""

from __future__ import annotations

import functools
import time
from typing import Final

import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.stores.local.database import Database, resource

__all__ = ["Schema", "build", "inspect", "known_migrations"]

CREATED_LEVEL: Final = 32
"""Codex 0.131; every later release migrates from here by itself (tried up to 0.169)."""


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """What is there, and whether it may be written."""

    version: int = 0
    """SQLite's own number; another one whenever somebody has changed the schema."""
    level: int = 0
    """The highest migration applied."""
    columns: frozenset[str] = frozenset()
    """Of ``threads``; none: the database is empty."""
    tables: frozenset[str] = frozenset()
    problem: str | None = None
    """Why it must not be written, for people."""


class _Migration(msgspec.Struct, frozen=True, array_like=True):
    version: int
    description: str
    checksum: str
    """SHA-384 of the migration's text, in hexadecimal digits."""


@functools.cache
def known_migrations() -> dict[int, _Migration]:
    """Every migration up to Codex 0.169; all releases agree on a version's checksum."""
    known = msgspec.json.decode(resource("state_migrations.json"), type=list[_Migration])
    return {migration.version: migration for migration in known}


def inspect(database: Database) -> Schema:
    """Look at a database. Raises StoreUnavailable if there is no telling, or no thread to read."""
    version = database.value("PRAGMA schema_version")
    tables = frozenset(
        row[0] for row in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    )
    if not tables:
        return Schema(version=version)
    columns = frozenset(row[1] for row in database.rows("PRAGMA table_info(threads)"))
    if "id" not in columns:
        raise StoreUnavailable(
            f"{database.path} has no table of threads", hint="move the file away; it is not Codex's"
        )
    if "_sqlx_migrations" not in tables:
        foreign = f"{database.path} does not say which migrations it has: it is not Codex's"
        return Schema(version=version, columns=columns, tables=tables, problem=foreign)
    applied = database.rows(
        "SELECT version, success, CAST(checksum AS BLOB) FROM _sqlx_migrations ORDER BY version"
    )
    problem = _check(applied)
    return Schema(
        version=version,
        level=applied[-1][0] if applied else 0,
        columns=columns,
        tables=tables,
        problem=problem and f"{database.path}: {problem}",
    )


def _check(applied: list[tuple[int, int, bytes | None]]) -> str | None:
    """Codex refuses to start in each of these cases; migrations it does not know are fine."""
    known = known_migrations()
    for version, success, checksum in applied:
        if success != 1:
            return f"migration {version} is only partially applied"
        if version in known and (checksum or b"").hex() not in _checksums(version):
            return f"migration {version} is not the one that Codex knows"
    found = {version for version, _, _ in applied}
    missing = [version for version in known if version < max(found, default=0)]
    missing = [version for version in missing if version not in found]
    return f"migration {missing[0]} is missing" if missing else None


def _checksums(version: int) -> set[str]:
    # Some builds recorded migration 39 as 38; newer ones renumber that row by themselves.
    also = [39] if version == 38 else []
    return {known_migrations()[number].checksum for number in [version, *also]}


def build(database: Database) -> None:
    """Fill an empty database as Codex 0.131 would; Codex itself indexes existing rollouts later."""
    database.run(resource("state_5.sql"))
    database.run_many(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)"
        " VALUES (?, ?, TRUE, ?, -1)",
        [
            (migration.version, migration.description, bytes.fromhex(migration.checksum))
            for migration in known_migrations().values()
            if migration.version <= CREATED_LEVEL
        ],
    )
    database.run(
        "INSERT INTO backfill_state (id, status, updated_at) VALUES (1, 'pending', ?)",
        (int(time.time()),),
    )
