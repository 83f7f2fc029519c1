"""``doctor`` on a database finds what does not fit together."""

from __future__ import annotations

import pytest
from tests.stores.postgres.conftest import OpenStore

from threadstore.metadata import HistoryBase, NewThread
from threadstore.queries import ThreadQuery
from threadstore.store import Finding
from threadstore.testing import Corruption, items, record_thread
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def postgres_server() -> PostgresServer:
    """A server that syncs, or every database here would be called unsafe."""
    return PostgresServer(durable=True)


@pytest.fixture(scope="module", autouse=True)
def _running(postgres_server: PostgresServer) -> object:
    with postgres_server:
        yield


async def inspect(open_with: OpenStore, *, fix: bool = False) -> list[Finding]:
    async with open_with() as store:
        return list(await store.inspect(fix=fix))


async def test_a_database_in_order_has_no_findings(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        thread = await record_thread(store, harness.clock, name="named")
        base = HistoryBase(thread_id=thread.id, position=2)
        fork = await store.create_thread(NewThread(cwd="", history_base=base))
        await store.append_items(fork.id, [items.agent_message("own")])
        await store.archive_thread(thread.id)
        assert await store.inspect() == ()
    assert await inspect(open_with) == []


@pytest.mark.parametrize(
    ("sql", "code", "severity"),
    [
        ("DELETE FROM threadstore.threads", "orphaned_log", "error"),
        ("DELETE FROM threadstore.thread_logs", "missing_log", "error"),
        ("DELETE FROM threadstore.thread_items WHERE position = 2", "missing_lines", "error"),
        ("DELETE FROM threadstore.thread_items WHERE position > 2", "missing_lines", "error"),
        ("UPDATE threadstore.threads SET record = '{}'", "damaged_record", "error"),
        ("UPDATE threadstore.threads SET search_text = 'x'", "stale_columns", "error"),
        (
            "UPDATE threadstore.thread_logs SET holder = 'process 1', expires_at = now()",
            "expired_lease",
            "info",
        ),
    ],
)
async def test_what_does_not_fit_together_is_found(
    open_with: OpenStore, harness: PostgresHarness, sql: str, code: str, severity: str
) -> None:
    async with open_with() as store:
        thread = await record_thread(store, harness.clock)
    harness.look(f"{sql} RETURNING 1")
    (finding,) = await inspect(open_with)
    assert (finding.code, finding.severity, finding.thread_id) == (code, severity, thread.id)


async def test_a_damaged_line_is_reported(open_with: OpenStore, harness: PostgresHarness) -> None:
    async with open_with() as store:
        thread = await record_thread(store, harness.clock)
    for _ in range(7):
        harness.corrupt(thread.id, Corruption.GARBAGE_LINE)
    findings = await inspect(open_with)
    assert [finding.code for finding in findings] == ["damaged_line"] * 6
    assert findings[-1].reason.startswith("and 2 more")


async def test_a_fork_without_its_base_is_found(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        thread = await record_thread(store, harness.clock)
        base = HistoryBase(thread_id=thread.id, position=2)
        fork = await store.create_thread(NewThread(cwd="", history_base=base))
        await store.append_items(fork.id, [items.agent_message("own")])
    for table in ("threads", "thread_logs", "thread_items", "thread_texts"):
        harness.look(f"DELETE FROM threadstore.{table} WHERE thread_id = %s RETURNING 1", thread.id)
    (finding,) = await inspect(open_with)
    assert (finding.code, finding.thread_id) == ("missing_base", fork.id)


async def test_stale_columns_are_mended_and_nothing_else(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        thread = await record_thread(store, harness.clock, name="found by its name")
        harness.look("UPDATE threadstore.threads SET search_text = 'x' RETURNING 1")
        query = ThreadQuery(search_term="by its name")
        assert (await store.list_threads(query)).items == ()
        (finding,) = await store.inspect(fix=True)
        assert finding.fixed
        assert (await store.list_threads(query)).items == (thread,)
        assert await store.inspect() == ()


async def test_settings_that_are_not_safe_are_named(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    findings = await inspect(open_with)
    assert findings == []
    dsn = f"{harness.config.dsn}&options=-csynchronous_commit%3Doff"
    async with open_with(dsn=dsn) as store:
        (finding,) = await store.inspect()
    assert (finding.code, finding.subject) == ("not_durable", "synchronous_commit")
