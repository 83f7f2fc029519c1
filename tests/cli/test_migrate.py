"""``threadstore migrate``, and ``copy`` to a database."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Iterator

import pytest
from psycopg import sql
from tests.cli.conftest import Home, Run

from threadstore.testing.postgres_server import ROLE, PostgresServer

FOLDER = importlib.resources.files("threadstore.stores.postgres") / "migrations"
STEPS = sorted(file.name.removesuffix(".sql") for file in FOLDER.iterdir())


@pytest.fixture
def url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database without tables."""
    name = f"empty_{os.urandom(4).hex()}"
    create = sql.SQL("CREATE DATABASE {} OWNER {}")
    postgres_server.admin(create.format(sql.Identifier(name), sql.Identifier(ROLE)))
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


def test_looking_changes_nothing_and_check_has_a_code(bare_cli: Run, url: str) -> None:
    for flag, code in (("--dry-run", 0), ("--check", 5)):
        result = bare_cli("migrate", "--store", url, flag)
        assert (result.code, result.rows) == (code, [[step] for step in STEPS])
    done = bare_cli("migrate", "--store", url, "--json")
    assert done.json["data"] == [{"step": step, "applied": True} for step in STEPS]
    again = bare_cli("migrate", "--store", url)
    assert (again.code, again.out) == (0, "")
    assert "up to date" in again.err
    assert bare_cli("migrate", "--store", url, "--check").code == 0


def test_a_store_without_tables_says_what_to_do(bare_cli: Run, url: str) -> None:
    result = bare_cli("list", "--store", url)
    assert result.code == 4
    assert "threadstore migrate" in result.err


@pytest.mark.parametrize("store", ["memory:", "local:"])
def test_other_stores_have_nothing_to_migrate(cli: Run, store: str) -> None:
    result = cli("migrate", "--store", store)
    assert result.code == 2
    assert "nothing to migrate" in result.err


def test_a_server_that_is_not_there(bare_cli: Run, url: str) -> None:
    result = bare_cli("migrate", "--store", "postgresql://nobody@/none?host=/nowhere")
    assert result.code == 4


def test_a_home_goes_to_a_database_and_back(
    cli: Run, home: Home, url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    back = tmp_path_factory.mktemp("back")
    assert cli("migrate", "--store", url).code == 0
    there = cli("copy", "local:", url, "--all")
    assert (there.code, len(there.rows)) == (0, 7)
    assert cli("copy", url, str(back), "--all").code == 0
    logs = {path.name: path.read_bytes() for path in home.path.rglob("rollout-*")}
    assert {path.name: path.read_bytes() for path in back.rglob("rollout-*")} == logs
