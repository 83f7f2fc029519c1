"""The schema: numbered migrations, each applied once, one process at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import msgspec
import psycopg

from threadstore.config import PostgresStoreConfig
from threadstore.errors import StoreUnavailable
from threadstore.stores.postgres.database import conninfo_of, unavailable

__all__ = ["Migration", "migrate", "migrations", "pending"]

_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_LOCK: Final = 0x7468_7265_6164  # any number that nobody else uses; it spells "thread"
_LEDGER: Final = """
CREATE SCHEMA IF NOT EXISTS threadstore;
CREATE TABLE IF NOT EXISTS threadstore.migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Recognises a migration that was changed after it was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Every migration of this release, in order."""
    found = []
    for file in resources.files(__package__).joinpath("migrations").iterdir():
        match = _FILE.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.version)


def pending(config: PostgresStoreConfig) -> list[Migration]:
    """What :func:`migrate` would apply. Changes nothing.

    Raises :class:`StoreUnavailable` if the server is not there, or if a migration that it has was
    changed since. A newer schema than ours is fine: migrations only add.
    """
    with _connect(config) as connection:
        return _missing(connection, None)


def migrate(
    config: PostgresStoreConfig, steps: Sequence[Migration] | None = None
) -> list[Migration]:
    """Bring the schema up to date; what was applied. *steps*: instead of :func:`migrations`.

    Safe at any time and from several processes at once: programs that use the store go on working.
    Each migration and its entry in the ledger are one transaction. Raises as :func:`pending` does.
    """
    with _connect(config) as connection:
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            connection.execute(_LEDGER.encode())
            applied = _missing(connection, steps)
            for migration in applied:
                with connection.transaction():
                    connection.execute(migration.sql.encode())
                    connection.execute(
                        "INSERT INTO threadstore.migrations (version, name, checksum)"
                        " VALUES (%s, %s, %s)",
                        [migration.version, migration.name, migration.checksum],
                    )
        except psycopg.Error as error:
            raise unavailable(error, "cannot migrate") from error
        return applied


def _connect(config: PostgresStoreConfig) -> psycopg.Connection[tuple[Any, ...]]:
    try:
        return psycopg.connect(conninfo_of(config), autocommit=True)
    except psycopg.Error as error:
        raise unavailable(error, "cannot connect to PostgreSQL") from error


def _missing(
    connection: psycopg.Connection[tuple[Any, ...]], steps: Sequence[Migration] | None
) -> list[Migration]:
    steps = migrations() if steps is None else steps
    try:
        rows = connection.execute("SELECT version, checksum FROM threadstore.migrations").fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return list(steps)
    except psycopg.Error as error:
        raise unavailable(error, "cannot read the list of migrations") from error
    applied = dict(rows)
    for migration in steps:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise StoreUnavailable(
                f"migration {migration.version} of this database is not the one of this release",
                hint="the database belongs to a changed copy of threadstore; use that one",
            )
    return [migration for migration in steps if migration.version not in applied]
