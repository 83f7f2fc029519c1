"""Whatever breaks: nothing acknowledged is lost, nothing is doubled, and the error says why."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import resource
import secrets
import sys
from pathlib import Path

import psycopg
import pytest
from tests.stores.postgres.conftest import OpenStore
from tests.stores.postgres.proxy import Proxy

from threadstore.errors import Conflict, StoreUnavailable
from threadstore.metadata import MetadataOrigin, NewThread, ThreadMetadataPatch
from threadstore.queries import ThreadQuery
from threadstore.store import ThreadStore
from threadstore.stores.postgres.store import PostgresThreadStore
from threadstore.testing import ManualClock, items, record_thread
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer

KILLS = 100 if os.environ.get("DEEP") else 10


async def said(store: ThreadStore, thread_id: str) -> list[str]:
    """The agent's messages, in order; positions must be without gaps."""
    history = await store.load_history(thread_id)
    assert [item.position for item in history.items] == [*range(1, history.position + 1)]
    return [item.payload["message"] for item in history.items if item.kind == "agent_message"]


@pytest.fixture
def proxy(harness: PostgresHarness, postgres_server: PostgresServer, tmp_path: Path) -> Proxy:
    folder = Path(tmp_path) / "s"
    folder.mkdir()
    return Proxy(folder, postgres_server.folder)


def through(proxy: Proxy, harness: PostgresHarness) -> str:
    """The connection string through the proxy."""
    return f"postgresql://app@/{harness.database}?host={proxy.folder}"


@pytest.mark.timeout(1200)
async def test_a_server_that_is_killed_during_appends_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with PostgresServer() as server:
        harness = PostgresHarness(server)
        acknowledged: dict[str, list[str]] = {}
        stop = asyncio.Event()

        async def write(store: ThreadStore) -> None:
            thread = await store.create_thread(NewThread(cwd=""))
            mine = acknowledged[thread.id] = []
            while not stop.is_set():
                batch = [f"{len(mine) + part}" for part in range(3)]
                await store.append_items(thread.id, [items.agent_message(t) for t in batch])
                mine += batch

        async def kill(total: int) -> None:
            for _ in range(total):
                before = sum(map(len, acknowledged.values()))
                while sum(map(len, acknowledged.values())) < before + 60:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                await asyncio.to_thread(server.restart_after_kill)
            stop.set()

        async with PostgresThreadStore(harness.config) as store:
            writers = [asyncio.create_task(write(store)) for _ in range(8)]
            await kill(KILLS)
            await asyncio.gather(*writers)
            for thread_id, texts in acknowledged.items():
                assert await said(store, thread_id) == texts


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_commit_whose_answer_is_lost_is_recognised(
    open_with: OpenStore, harness: PostgresHarness, proxy: Proxy, key: str | None
) -> None:
    async with proxy, open_with(dsn=through(proxy, harness), pool_size=1) as store:
        thread = await store.create_thread(NewThread(cwd=""))
        proxy.cut_at_next_answer()
        receipt = await store.append_items(
            thread.id, [items.agent_message("first")], idempotency_key=key
        )
        assert receipt.position == 2
        for number in range(5):
            proxy.cut_at_next_answer()
            receipt = await store.append_items(
                thread.id, [items.agent_message(f"{number}")], idempotency_key=key and f"{number}"
            )
            assert receipt.position == 3 + number
        assert await said(store, thread.id) == ["first", *"01234"]
        assert proxy.cuts == 6


async def test_many_threads_at_once_recognise_what_was_committed(
    open_with: OpenStore, harness: PostgresHarness, proxy: Proxy
) -> None:
    async with proxy, open_with(dsn=through(proxy, harness), pool_size=2) as store:
        threads = [(await store.create_thread(NewThread(cwd=""))).id for _ in range(20)]

        async def write(thread_id: str) -> None:
            for number in range(10):
                await store.append_items(thread_id, [items.agent_message(f"{number}")])

        async def cut() -> None:
            for _ in range(5):
                proxy.cut_at_next_answer()
                while proxy._swallow:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

        await asyncio.gather(cut(), *map(write, threads))
        for thread_id in threads:
            assert await said(store, thread_id) == [*"0123456789"]
        assert proxy.cuts == 5


async def test_other_changes_whose_answer_is_lost_happen_once(
    open_with: OpenStore, harness: PostgresHarness, proxy: Proxy
) -> None:
    async with proxy, open_with(dsn=through(proxy, harness), pool_size=1) as store:
        proxy.cut_at_next_answer()
        thread = await store.create_thread(NewThread(cwd=""))
        proxy.cut_at_next_answer()
        await store.persist_thread(thread.id)
        await store.shutdown_thread(thread.id)
        proxy.cut_at_next_answer()
        named = await store.update_thread_metadata(
            thread.id, ThreadMetadataPatch(name="n"), origin=MetadataOrigin.EXPLICIT
        )
        assert named.name == "n"
        for verb in (store.resume_thread, store.shutdown_thread):
            proxy.cut_at_next_answer()
            await verb(thread.id)
        assert proxy.cuts == 5


@pytest.mark.parametrize("answers", range(1, 8))
async def test_archive_and_delete_survive_a_cut_at_any_answer(
    open_with: OpenStore, harness: PostgresHarness, proxy: Proxy, answers: int
) -> None:
    async with proxy, open_with(dsn=through(proxy, harness), pool_size=1) as store:
        thread = await record_thread(store, harness.clock)
        proxy.cut_at_next_answer(answers % 3 + 1)
        assert await store.archive_thread(thread.id) == (thread.id,)
        proxy.cut_at_next_answer(answers % 3 + 1)
        assert await store.delete_thread(thread.id) == (thread.id,)
        assert (await store.list_threads(ThreadQuery(archived=None))).items == ()


async def test_an_append_of_which_nobody_knows_is_not_written_twice(
    open_with: OpenStore, harness: PostgresHarness, proxy: Proxy
) -> None:
    async with proxy, open_with(dsn=through(proxy, harness), pool_size=1, retry_for=0) as store:
        thread = await record_thread(store, harness.clock)
        await store.resume_thread(thread.id)
        position = (await store.load_history(thread.id)).position
        proxy.cut_at_next_answer()
        with pytest.raises(StoreUnavailable):
            await store.append_items(thread.id, [items.agent_message("it was written")])
        # The caller tries again the same thing, and says where it believes the log to be.
        with pytest.raises(Conflict):
            await store.append_items(
                thread.id, [items.agent_message("it was written")], expected_position=position
            )
        assert (await said(store, thread.id))[-1:] == ["it was written"]
        receipt = await store.append_items(thread.id, [items.agent_message("next")])
        assert receipt.position == position + 2


async def test_an_edit_that_failed_is_not_made_by_the_next_write(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        thread = await store.create_thread(NewThread(cwd=""))
        await asyncio.to_thread(_run, harness, "ALTER TABLE threadstore.threads RENAME TO away")
        with pytest.raises(StoreUnavailable):
            await store.update_thread_metadata(
                thread.id, ThreadMetadataPatch(name="failed"), origin=MetadataOrigin.EXPLICIT
            )
        await asyncio.to_thread(_run, harness, "ALTER TABLE threadstore.away RENAME TO threads")
        await store.append_items(thread.id, [items.agent_message("x")])
        assert (await store.read_thread(thread.id)).name is None


async def test_deadlocks_and_serialization_failures_are_tried_again(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        threads = [await record_thread(store, harness.clock) for _ in range(2)]
        await asyncio.gather(
            *(
                store.update_thread_metadata(
                    thread.id, ThreadMetadataPatch(name=f"{n}"), origin=MetadataOrigin.EXPLICIT
                )
                for n in range(20)
                for thread in threads
            ),
            *(
                _lock_backwards(harness, [t.id for t in order])
                for order in (threads, threads[::-1])
            ),
        )
        assert {t.name for t in (await store.list_threads()).items} == {"19"}


def _run(harness: PostgresHarness, query: str) -> None:
    """As the owner of the tables."""
    with psycopg.connect(harness.config.dsn, autocommit=True) as connection:
        connection.execute(query.encode())


async def _lock_backwards(harness: PostgresHarness, ids: list[str]) -> None:
    """Rows locked in an order of its own, as an administrator's script might."""

    def lock() -> None:
        with psycopg.connect(harness.config.dsn) as connection:
            connection.execute("SET threadstore.tenant = 'default'")
            for thread_id in ids:
                connection.execute(
                    "SELECT 1 FROM threadstore.threads WHERE thread_id = %s FOR UPDATE",
                    [thread_id],
                )

    for _ in range(3):
        try:
            await asyncio.to_thread(lock)
        except psycopg.errors.DeadlockDetected:
            continue


async def test_a_thread_with_damaged_tables_stops_no_other_thread(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        threads = [await record_thread(store, harness.clock) for _ in range(8)]
        for thread in threads:
            await store.resume_thread(thread.id)
        damaged = threads[4].id
        harness.look(
            "INSERT INTO threadstore.thread_items SELECT tenant, thread_id, position + 1, 'x'"
            " FROM threadstore.thread_logs WHERE thread_id = %s RETURNING 1",
            damaged,
        )
        answers = await asyncio.gather(
            *(store.append_items(thread.id, [items.agent_message("x")]) for thread in threads),
            return_exceptions=True,
        )
        failed = [isinstance(answer, StoreUnavailable) for answer in answers]
        assert failed == [thread.id == damaged for thread in threads]


async def test_a_full_disk_fails_appends_and_nothing_else() -> None:
    with PostgresServer() as server:
        harness = PostgresHarness(server)
        text = secrets.token_hex(500_000)  # so that it cannot be compressed to less than half
        async with PostgresThreadStore(harness.config) as store:
            thread = await store.create_thread(NewThread(cwd=""))
            position = (await store.append_items(thread.id, [items.agent_message("x")])).position
            # No file of the server's processes may grow beyond this; a segment of its log may.
            limit_files(harness, 17 << 20)
            for _ in range(60):
                try:
                    receipt = await store.append_items(thread.id, [items.agent_message(text)])
                except StoreUnavailable as error:
                    assert "extend" in str(error)  # noqa: PT017
                    break
                position = receipt.position
            else:
                pytest.fail("the disk is not full")
            assert position > 2
            assert (await store.load_history(thread.id)).position == position
            await store.update_thread_metadata(
                thread.id, ThreadMetadataPatch(name="n"), origin=MetadataOrigin.EXPLICIT
            )
            limit_files(harness, resource.RLIM_INFINITY)
            receipt = await store.append_items(thread.id, [items.agent_message("y")])
            assert receipt.position == position + 1
            assert len(await said(store, thread.id)) == position


def limit_files(harness: PostgresHarness, size: int) -> None:
    """How large files may get that the store's sessions write."""
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'threadstore'"
    for (pid,) in harness.look(query):
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


async def test_without_a_server_the_error_says_what_to_do(
    open_with: OpenStore, tmp_path: Path
) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        async with open_with(dsn=f"postgresql://app@/x?host={tmp_path}", connect_timeout=0.3):
            pass
    assert caught.value.hint
    assert "server" in caught.value.hint


async def test_a_statement_that_waits_too_long_is_given_up(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with(statement_timeout=0.2) as store:
        thread = await record_thread(store, harness.clock)
        with psycopg.connect(harness.config.dsn) as connection:
            connection.execute("SET threadstore.tenant = 'default'")
            connection.execute("SELECT 1 FROM threadstore.threads FOR UPDATE")
            with pytest.raises(StoreUnavailable):
                await store.update_thread_metadata(
                    thread.id, ThreadMetadataPatch(name="n"), origin=MetadataOrigin.EXPLICIT
                )
        assert (await store.read_thread(thread.id)).name is None


async def test_calls_wait_for_a_connection_only_so_long(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with(pool_size=1, pool_timeout=0.2) as store:
        await record_thread(store, harness.clock)
        with psycopg.connect(harness.config.dsn) as connection:
            connection.execute("SET threadstore.tenant = 'default'")
            connection.execute("LOCK TABLE threadstore.threads")
            held = asyncio.create_task(store.list_threads())
            await asyncio.sleep(0)
            with pytest.raises(StoreUnavailable, match="connections are in use"):
                await store.list_threads()
        await held


_HOLDER = """
import asyncio, sys
from threadstore.factory import open_store

async def main():
    async with open_store(sys.argv[1]) as store:
        await store.resume_thread(sys.argv[2])
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_client_that_dies_with_a_lease_is_replaced_when_it_has_run_out(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        thread = await record_thread(store, harness.clock)
        url = f"{harness.config.dsn}&lease_expiry=0.6&heartbeat=0.2"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _HOLDER, url, thread.id, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"held\n"
        with pytest.raises(Conflict) as caught:
            await store.resume_thread(thread.id)
        assert f"process {process.pid}" in (caught.value.holder or "")
        process.kill()
        await process.wait()
        async with asyncio.timeout(20):
            while True:
                try:
                    await store.resume_thread(thread.id)
                except Conflict:
                    await asyncio.sleep(0.05)
                else:
                    break


async def test_clocks_an_hour_apart_do_not_matter_for_leases(harness: PostgresHarness) -> None:
    fast, slow = ManualClock(), ManualClock()
    fast.advance(3600)
    async with (
        PostgresThreadStore(harness.config, clock=fast) as ahead,
        PostgresThreadStore(harness.config, clock=slow) as behind,
    ):
        thread = await record_thread(ahead, fast)
        await ahead.resume_thread(thread.id)
        with pytest.raises(Conflict):
            await behind.resume_thread(thread.id)
        await ahead.shutdown_thread(thread.id)
        await behind.resume_thread(thread.id)
        with pytest.raises(Conflict):
            await ahead.resume_thread(thread.id)
        await behind.append_items(thread.id, [items.agent_message("an hour ago")])
        page = await ahead.list_threads()
        assert [t.id for t in page.items] == [thread.id]
        assert page.items[0].updated_at - slow.now() > dt.timedelta(minutes=50)
