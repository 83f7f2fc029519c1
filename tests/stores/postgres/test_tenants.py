"""One database, many tenants: none sees, guesses or locks what is another's."""

from __future__ import annotations

import psycopg
import pytest
from tests.stores.postgres.conftest import OpenStore

from threadstore.errors import ThreadNotFound
from threadstore.metadata import HistoryBase, MetadataOrigin, NewThread, ThreadMetadataPatch
from threadstore.search import SearchQuery
from threadstore.testing import items, record_thread
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer

TABLES = (
    *("threads", "thread_logs", "thread_items", "thread_receipts"),
    *("thread_texts", "thread_text_marks"),
)


async def test_a_tenant_sees_its_own_threads_only(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with(tenant="acme") as acme, open_with(tenant="zeta") as zeta:
        ours = await record_thread(acme, harness.clock)
        theirs = await record_thread(zeta, harness.clock)
        for store, mine, other in ((acme, ours, theirs), (zeta, theirs, ours)):
            page = await store.list_threads()
            assert [thread.id for thread in page.items] == [mine.id]
            for call in (
                store.read_thread(other.id),
                store.load_history(other.id),
                store.resume_thread(other.id),
                store.archive_thread(other.id),
                store.delete_thread(other.id),
                store.update_thread_metadata(
                    other.id, ThreadMetadataPatch(name="x"), origin=MetadataOrigin.EXPLICIT
                ),
                store.create_thread(
                    NewThread(cwd="", history_base=HistoryBase(thread_id=other.id, position=1))
                ),
            ):
                with pytest.raises(ThreadNotFound):
                    await call


async def test_tenants_may_use_the_same_id_at_the_same_time(open_with: OpenStore) -> None:
    async with open_with(tenant="acme") as acme, open_with(tenant="zeta") as zeta:
        thread = await acme.create_thread(NewThread(cwd=""))
        await zeta.create_thread(NewThread(cwd="", id=thread.id))  # no conflict tells it exists
        await acme.append_items(thread.id, [items.agent_message("acme")])
        await zeta.append_items(thread.id, [items.agent_message("zeta")])
        for store, said in ((acme, "acme"), (zeta, "zeta")):
            history = await store.load_history(thread.id)
            assert history.items[-1].payload["message"] == said
        await acme.shutdown_thread(thread.id)
        await acme.delete_thread(thread.id)
        assert len((await zeta.load_history(thread.id)).items) == 2


@pytest.mark.parametrize("table", TABLES)
async def test_the_server_itself_keeps_tenants_apart(
    open_with: OpenStore, harness: PostgresHarness, table: str
) -> None:
    async with open_with(tenant="acme") as acme:
        thread = await record_thread(acme, harness.clock)
        await acme.resume_thread(thread.id)
        await acme.append_items(thread.id, [items.agent_message("x")], idempotency_key="k")
        await acme.search_threads(SearchQuery(text="x"))
    count = f"SELECT count(*) FROM threadstore.{table}"
    assert harness.look(count)[0][0] > 0
    # Not the superuser, but the owner of the tables, with SQL that forgets to say whose rows.
    with psycopg.connect(harness.config.dsn, autocommit=True) as connection:
        assert connection.execute(count).fetchall() == [(0,)]
        connection.execute("SET threadstore.tenant = 'zeta'")
        assert connection.execute(count).fetchall() == [(0,)]
        changed = connection.execute(f"DELETE FROM threadstore.{table}")
        assert changed.rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "INSERT INTO threadstore.thread_items VALUES ('acme', %s, 99, 'x')", [thread.id]
            )
        connection.execute("SET threadstore.tenant = 'acme'")
        assert connection.execute(count).fetchall() != [(0,)]


def test_stores_are_tested_as_a_role_that_is_no_superuser(
    harness: PostgresHarness, postgres_server: PostgresServer
) -> None:
    with psycopg.connect(harness.config.dsn) as connection:
        rows = connection.execute(
            "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).fetchall()
    assert rows == [(False, False)]
    forced = harness.look(
        "SELECT relname::text FROM pg_class WHERE relforcerowsecurity AND relrowsecurity"
    )
    assert {row[0] for row in forced} == set(TABLES)


async def test_tenants_are_kept_apart_behind_a_pooler(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    pooled = {"transaction_pooling": True}
    async with (
        open_with(tenant="acme", **pooled) as acme,
        open_with(tenant="zeta", **pooled) as zeta,
    ):
        ours = await record_thread(acme, harness.clock)
        theirs = await record_thread(zeta, harness.clock)
        assert [t.id for t in (await acme.list_threads()).items] == [ours.id]
        assert [t.id for t in (await zeta.list_threads()).items] == [theirs.id]
        await acme.resume_thread(ours.id)
        await acme.append_items(ours.id, [items.agent_message("x")])
        with pytest.raises(ThreadNotFound):
            await zeta.load_history(ours.id)
