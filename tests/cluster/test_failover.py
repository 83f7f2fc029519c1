"""A primary and two synchronous standbys: what was acknowledged survives the loss of a machine."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from tests.cluster.cluster import Cluster
from tests.cluster.load import Ledger, write

from threadstore.errors import Conflict, StoreUnavailable
from threadstore.factory import open_store
from threadstore.metadata import MetadataOrigin, NewThread, ThreadMetadataPatch
from threadstore.store import ThreadStore
from threadstore.testing import items

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

PROCESSES: Final = 3
THREADS: Final = 15
"""Of each process, and of the test's own store."""
MORE: Final = 300
"""Acknowledgements between one event and the next."""
LOAD: Final = str(Path(__file__).with_name("load.py"))
WAITING: Final = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


class Load:
    """Writers in several processes and in this one."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.ledgers = [folder / f"ledger-{number}" for number in range(PROCESSES + 1)]
        self._processes: list[Process] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ThreadStore]:
        """Everybody writes; the test's own store. Fails if a writer met any error."""
        stop = asyncio.Event()
        arguments = [sys.executable, LOAD, self.url]
        for path in self.ledgers[1:]:
            command = [*arguments, str(path), str(THREADS)]
            self._processes.append(await asyncio.create_subprocess_exec(*command, stdin=PIPE))
        ledger = Ledger(self.ledgers[0])
        try:
            async with open_store(self.url) as store:
                async with asyncio.TaskGroup() as group:
                    for _ in range(THREADS):
                        group.create_task(write(store, ledger, stop))
                    await self.goes_on()
                    yield store
                    stop.set()
                for process in self._processes:
                    assert process.stdin is not None
                    process.stdin.close()
                for process in self._processes:
                    await process.wait()
        finally:
            ledger.close()
            for process in self._processes:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        assert [process.returncode for process in self._processes] == [0] * PROCESSES

    async def goes_on(self) -> None:
        """Wait until every process had much acknowledged from now on."""
        sizes = [Ledger.size(path) for path in self.ledgers]
        for path, size in zip(self.ledgers, sizes, strict=True):
            while Ledger.size(path) < size + MORE:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def verify(self, store: ThreadStore) -> int:
        """Nothing missing, nothing doubled, no gap, every name; how many items that were."""
        total = 0
        for path in self.ledgers:
            said, names = Ledger.read(path)
            assert len(said) == THREADS
            for thread_id, texts in said.items():
                history = await store.load_history(thread_id)
                positions = [item.position for item in history.items]
                assert positions == [*range(1, len(texts) + 2)]
                messages = [item.payload.get("message") for item in history.items[1:]]
                assert messages == texts
                assert (await store.read_thread(thread_id)).name == names[thread_id]
                total += len(texts)
        return total


@pytest.fixture
def load(cluster: Cluster, tmp_path: Path) -> Load:
    return Load(f"{cluster.dsn()}&retry_for=60&pool_timeout=60", tmp_path)


async def test_a_lost_primary_takes_nothing_with_it_that_was_acknowledged(
    cluster: Cluster, load: Load
) -> None:
    async with load.running() as ours:
        for _ in range(2):
            lost = await asyncio.to_thread(cluster.lose_primary)
            await asyncio.to_thread(cluster.promote)
            await load.goes_on()
            await _nobody_else_may_write(ours, load)
            await asyncio.to_thread(cluster.rebuild, lost)
            await load.goes_on()
        total = sum(map(Ledger.size, load.ledgers))
    assert total > 5 * MORE * len(load.ledgers)
    async with open_store(load.url) as store:
        await load.verify(store)
        assert [f for f in await store.inspect() if f.severity == "error"] == []


async def _nobody_else_may_write(ours: ThreadStore, load: Load) -> None:
    """The leases of the lost server hold on the new one."""
    async with open_store(load.url) as stranger:
        for path in load.ledgers:
            for thread_id in [*Ledger.read(path)[0]][:3]:
                with pytest.raises(Conflict):
                    await stranger.resume_thread(thread_id)


async def test_a_lost_standby_is_not_even_noticed(cluster: Cluster, load: Load) -> None:
    async with load.running():
        standby = cluster.standbys[0]
        await asyncio.to_thread(cluster.nodes[standby].kill)
        await load.goes_on()
        await asyncio.to_thread(cluster.nodes[standby].start)
        await load.goes_on()
    async with open_store(load.url) as store:
        await load.verify(store)


@pytest.fixture
def without_standbys(cluster: Cluster) -> Callable[[], None]:
    def stop() -> None:
        for name in cluster.standbys:
            cluster.nodes[name].kill()

    return stop


async def _said(store: ThreadStore, thread_id: str) -> list[str]:
    history = await store.load_history(thread_id)
    return [item.payload["message"] for item in history.items[1:]]


async def test_without_a_standby_nothing_is_acknowledged(
    cluster: Cluster, without_standbys: Callable[[], None]
) -> None:
    async with open_store(f"{cluster.dsn()}&statement_timeout=1") as store:
        thread = await store.create_thread(NewThread(cwd=""))
        await store.append_items(thread.id, [items.agent_message("one")])
        without_standbys()
        with pytest.raises(StoreUnavailable) as caught:
            await store.append_items(thread.id, [items.agent_message("two")])
        assert "standby" in (caught.value.hint or "")
        cluster.nodes[cluster.standbys[0]].start()
        await store.append_items(thread.id, [items.agent_message("three")])
        assert await _said(store, thread.id) == ["one", "two", "three"]


@pytest.mark.parametrize("verb", ["pg_cancel_backend", "pg_terminate_backend"])
@pytest.mark.parametrize("pooled", [False, True])
async def test_a_wait_for_a_standby_that_is_broken_off_acknowledges_nothing(
    cluster: Cluster, without_standbys: Callable[[], None], verb: str, *, pooled: bool
) -> None:
    url = f"{cluster.dsn()}&retry_for=60&transaction_pooling={str(pooled).lower()}"
    async with open_store(url) as store:
        thread = await store.create_thread(NewThread(cwd=""))
        await store.append_items(thread.id, [items.agent_message("one")])
        without_standbys()
        patch = ThreadMetadataPatch(name="n")
        calls = (
            store.append_items(thread.id, [items.agent_message("two")]),
            store.update_thread_metadata(thread.id, patch, origin=MetadataOrigin.EXPLICIT),
        )
        for number, call in enumerate(calls):
            acknowledged = asyncio.create_task(call)
            for _ in range(2):
                pid = await _waiting(cluster)
                cluster.query(f"SELECT {verb}(%s)", pid)
            # It has been committed, and can be seen; but it is on one machine only.
            await _waiting(cluster)
            assert not acknowledged.done()
            standby = cluster.nodes[cluster.standbys[0]]
            standby.start()
            await acknowledged
            if not number:
                standby.kill()
        assert await _said(store, thread.id) == ["one", "two"]
        assert (await store.read_thread(thread.id)).name == "n"


async def _waiting(cluster: Cluster) -> int:
    """A server process that waits for a standby."""
    async with asyncio.timeout(20):
        while not (rows := cluster.query(WAITING)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    pid: int = rows[0][0]
    return pid


async def test_a_key_that_was_used_is_answered_when_a_standby_has_it(
    cluster: Cluster, without_standbys: Callable[[], None]
) -> None:
    async with open_store(f"{cluster.dsn()}&statement_timeout=1") as store:
        thread = await store.create_thread(NewThread(cwd=""))
        await store.append_items(thread.id, [items.agent_message("one")])
        without_standbys()
        two = [items.agent_message("two")]
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.append_items(thread.id, two, idempotency_key="k")
        cluster.nodes[cluster.standbys[0]].start()
        assert (await store.append_items(thread.id, two, idempotency_key="k")).position == 3
        assert await _said(store, thread.id) == ["one", "two"]
