"""docs/postgres.md says what is true: its SQL is run here, by the roles that it names."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest
from psycopg import sql

from threadstore.config import PostgresStoreConfig
from threadstore.errors import StoreUnavailable
from threadstore.factory import open_store
from threadstore.store import ThreadStore
from threadstore.stores.postgres.migrate import migrate
from threadstore.testing import ManualClock, items, record_thread
from threadstore.testing.postgres_server import OWNER, PostgresServer

PAGE: Final = (Path(__file__).parents[3] / "docs" / "postgres.md").read_text()
OPTION: Final = re.compile(r"^\| `(\w+)` \| `(\w+)` \|", re.MULTILINE)


def blocks(heading: str) -> list[str]:
    """The SQL of a section."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"```sql\n(.*?)```", section, re.DOTALL)


def run(server: PostgresServer, text: str, user: str, database: str = "threads") -> None:
    """Run a block as it stands."""
    with psycopg.connect(server.dsn(database, user=user), autocommit=True) as connection:
        for statement in filter(str.strip, text.split(";\n")):
            connection.execute(sql.SQL(statement))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server on which the page was followed up to the grants."""
    with PostgresServer() as server:
        create, grants = blocks("Start here")
        run(server, create, OWNER, "postgres")
        migrate(PostgresStoreConfig(dsn=server.dsn("threads", user="threads_owner")))
        run(server, grants, "threads_owner")
        yield server


def url(server: PostgresServer, user: str, tenant: str = "default") -> str:
    """What a program of that role opens."""
    return f"{server.dsn('threads', user=user)}&tenant={tenant}&retry_for=0"


async def use(store: ThreadStore) -> str:
    """Every verb that changes something; a thread that stays."""
    kept = await record_thread(store, ManualClock())
    gone = await record_thread(store, ManualClock())
    await store.resume_thread(gone.id)
    await store.append_items(gone.id, [items.agent_message("x")], idempotency_key="k")
    await store.shutdown_thread(gone.id)
    await store.archive_thread(gone.id)
    await store.delete_thread(gone.id)
    assert [f for f in await store.inspect(fix=True) if f.severity == "error"] == []
    return kept.id


@pytest.mark.parametrize("user", ["threads_app", "threads_owner"])
async def test_the_roles_of_the_page_can_do_everything(server: PostgresServer, user: str) -> None:
    async with open_store(url(server, user)) as store:
        await use(store)


async def test_a_role_may_not_change_the_tables(server: PostgresServer) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(server, "ALTER TABLE threadstore.threads DISABLE ROW LEVEL SECURITY", "threads_app")


async def test_a_role_of_one_tenant_cannot_say_another_one(server: PostgresServer) -> None:
    async with open_store(url(server, "threads_app", "zeta")) as store:
        theirs = await use(store)
    (policies,) = blocks("Tenants")
    run(server, policies, OWNER)
    async with open_store(url(server, "acme", "acme")) as store:
        await use(store)
    async with open_store(url(server, "acme", "zeta")) as store:
        assert (await store.list_threads()).items == ()
        with pytest.raises(StoreUnavailable):
            await record_thread(store, ManualClock())
    async with open_store(url(server, "threads_app", "zeta")) as store:
        assert [thread.id for thread in (await store.list_threads()).items] == [theirs]


async def test_a_back_up_holds_every_tenant(server: PostgresServer, tmp_path: Path) -> None:
    async with open_store(url(server, "threads_app", "kept")) as store:
        kept = await use(store)
        said = (await store.load_history(kept)).position
    (role,) = blocks("Back-up and restore")
    run(server, role, OWNER)
    dump = server.folder / "threads.dump"
    commands = re.findall(r"^\$ (pg_\w+) .*$", PAGE, re.MULTILINE)
    assert commands == ["pg_dump", "pg_restore"]
    run(server, "CREATE DATABASE restored", OWNER, "postgres")
    for command in (
        (
            "pg_dump",
            "--format=custom",
            f"--file={dump}",
            server.dsn("threads", user="threads_backup"),
        ),
        ("pg_restore", f"--dbname={server.dsn('restored', user=OWNER)}", str(dump)),
    ):
        await asyncio.to_thread(subprocess.run, server.command(*command), check=True)
    restored = f"{server.dsn('restored', user='threads_app')}&tenant=kept"
    async with open_store(restored) as store:
        assert (await store.load_history(kept)).position == said


def test_what_the_page_watches_can_be_asked(server: PostgresServer) -> None:
    (questions,) = blocks("Doctor, watching, sizes")
    run(server, questions, OWNER)


def test_the_page_has_every_option_with_its_default() -> None:
    options = dict(OPTION.findall(PAGE))
    config = PostgresStoreConfig(dsn="")
    assert [*options] == [name for name in config.__struct_fields__ if name != "dsn"]
    for name, default in options.items():
        value = getattr(config, name)
        assert default == (f"{value:g}" if isinstance(value, float) else str(value).lower()), name
