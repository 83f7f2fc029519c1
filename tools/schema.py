"""Writes ``src/threadstore/stores/postgres/schema.sql``: the sum of all migrations, to be read, or
to make a database with. Run it after adding a migration: ``python -m tools.schema``."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

from psycopg import sql

from threadstore.stores.postgres.migrate import migrations
from threadstore.testing.postgres_server import OWNER, TEMPLATE, PostgresServer

__all__ = ["SCHEMA", "dump", "schema"]

SCHEMA: Final = Path(__file__).parents[1] / "src/threadstore/stores/postgres/schema.sql"
_HEAD: Final = """\
-- The tables as they are after all migrations (see migrations/). Made by tools/schema.py; a test
-- says that a database made from this file is the same as one that `threadstore migrate` made.
"""
_NOISE: Final = re.compile(
    r"^(?:--.*|SET .*|SELECT pg_catalog\..*|\\(?:un)?restrict .*)\n", re.MULTILINE
)


def dump(server: PostgresServer, database: str) -> str:
    """Our tables in a database, as the SQL that makes them; without owners and rights."""
    command = server.command(
        "pg_dump", "--schema-only", "--no-owner", "--no-privileges", "--schema=threadstore"
    )
    done = subprocess.run(
        [*command, server.dsn(database, user=OWNER)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"pg_dump failed: {done.stderr}")
    return re.sub(r"\n{3,}", "\n\n", _NOISE.sub("", done.stdout)).strip() + "\n"


def schema(server: PostgresServer) -> str:
    """The whole file, from a database that has every migration."""
    steps = ",\n".join(
        f"    ({step.version}, {_text(step.name)}, {_text(step.checksum)})" for step in migrations()
    )
    ledger = f"INSERT INTO threadstore.migrations (version, name, checksum) VALUES\n{steps};\n"
    return f"{_HEAD}\n{dump(server, TEMPLATE)}\n{ledger}"


def _text(value: str) -> str:
    return sql.Literal(value).as_string()


if __name__ == "__main__":
    with PostgresServer() as server:
        SCHEMA.write_text(schema(server), encoding="utf-8")
