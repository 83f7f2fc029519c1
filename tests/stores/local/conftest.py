"""Databases, and other programs on them as real processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.stores.local.state_helpers import (
    execute,
    migration_row,
)

from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.state_db import StateDb

Locked = Callable[..., AbstractContextManager[None]]
RunWithoutRights = Callable[[str, str], str]

NEWER_COLUMNS = (
    "recency_at INTEGER NOT NULL DEFAULT 0",
    "recency_at_ms INTEGER NOT NULL DEFAULT 0",
    "history_mode TEXT NOT NULL DEFAULT 'legacy'",
    "name TEXT",
    "thread_section_id TEXT",
    "section_position INTEGER",
    "section_entered_at_ms INTEGER",
    "project_id TEXT",
    "originator TEXT",
    "daybreak_enabled BOOLEAN",
    "creator_user_id TEXT",
    "creator_account_id TEXT",
    "from_the_future TEXT NOT NULL DEFAULT 'x'",
)

_HOLDER = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
for statement in sys.argv[2:]:
    list(connection.execute(statement))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locked() -> Locked:
    """``with locked(path, *statements)``: another process runs them and stays until the end."""

    @contextlib.contextmanager
    def hold(path: str, *statements: str) -> Iterator[None]:
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, path, *(statements or ("BEGIN EXCLUSIVE",))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            yield
            assert holder.stdin is not None
            holder.stdin.close()

    return hold


_EVERY_ROOM = """\
import importlib, pkgutil, threadstore.stores.local as local
for room in pkgutil.iter_modules(local.__path__, f"{local.__name__}."):
    importlib.import_module(room.name)
"""


@pytest.fixture
def public_folder() -> Iterator[str]:
    """A folder that every user can reach (the usual one is the test user's alone)."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield folder
        os.chmod(folder, 0o755)


@pytest.fixture
def run_without_rights() -> RunWithoutRights:
    """``run(imports, code)``: what the code prints, run by a user without special rights."""

    def run(imports: str, code: str) -> str:
        # Imports come first: the user may not be able to read the interpreter's folders.
        drop = "import os\nif os.geteuid() == 0:\n    os.setgid(65534)\n    os.setuid(65534)\n"
        done = subprocess.run(
            [sys.executable, "-c", f"{imports}\n{_EVERY_ROOM}{drop}{code}"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the state database is."""
    return str(tmp_path / "state_5.sqlite")


@pytest.fixture
def index_path(tmp_path: Path) -> str:
    """Where the list index is."""
    return str(tmp_path / "threadstore_1.sqlite")


@pytest.fixture
def index(index_path: str) -> Iterator[IndexDb]:
    database = IndexDb(index_path, busy_timeout=0)
    database.open()
    yield database
    database.close()


@pytest.fixture
def db(path: str) -> Iterator[StateDb]:
    database = StateDb(path, busy_timeout=0)
    database.open()
    yield database
    database.close()


@pytest.fixture
def newer(db: StateDb, path: str) -> StateDb:
    """The same at the level of Codex 0.169 and one migration that nobody knows."""
    db.ensure()
    execute(
        path,
        "BEGIN",
        *(f"ALTER TABLE threads ADD COLUMN {column}" for column in NEWER_COLUMNS),
        "CREATE TABLE thread_sections (id TEXT PRIMARY KEY, name TEXT NOT NULL, appearance TEXT)",
        "INSERT INTO thread_sections VALUES ('s1', 'Pinned', NULL)",
        "CREATE TABLE thread_read_receipts (thread_id TEXT PRIMARY KEY NOT NULL)",
        *(migration_row(version) for version in range(33, 63)),
        "INSERT INTO _sqlx_migrations VALUES (9999, 'new', 'now', 1, x'00', 0)",
        "COMMIT",
    )
    return db
