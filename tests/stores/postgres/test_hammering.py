"""Many threads, writers that are killed and replaced, a server that is killed: nothing that was
acknowledged is lost, nothing is doubled, followers see every line once.

``make test-deep`` does it with 1,000 threads and 100 kills of each kind.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from tests.cluster.load import Ledger

from threadstore.errors import ThreadNotFound
from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.store import ThreadStore
from threadstore.stores.postgres.store import PostgresThreadStore
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer

DEEP = bool(os.environ.get("DEEP"))
PROCESSES, THREADS, KILLS, FOLLOWED = (6, 1000, 100, 50) if DEEP else (3, 90, 3, 12)
HAMMER = Path(__file__).with_name("hammer.py")
LEASE = "&lease_expiry=2&heartbeat=0.5"


class Hammers:
    """The writing processes: as many as shares of the threads, each replaced when it is killed."""

    def __init__(self, url: str, folder: Path, ids: list[str]) -> None:
        self._url = url
        self._folder = folder
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._ledgers: list[Path] = []
        for share in range(PROCESSES):
            (folder / f"ids{share}").write_text("\n".join(ids[share::PROCESSES]))
            self._start(share)

    def _start(self, share: int) -> None:
        ledger = self._folder / f"ledger{len(self._ledgers)}"
        self._ledgers.append(ledger)
        command = [sys.executable, str(HAMMER), self._url, str(ledger)]
        self._running[share] = subprocess.Popen(
            [*command, str(self._folder / f"ids{share}")],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def kill_one(self) -> None:
        """One of them is gone without a word; another takes its threads."""
        share = random.choice([*self._running])
        process = self._running[share]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self._start(share)

    def stop(self) -> None:
        """Let all of them end."""
        for process in self._running.values():
            process.communicate()
            assert process.returncode == 0

    def acknowledged(self) -> dict[str, list[str]]:
        """What each thread has to hold."""
        said: dict[str, list[str]] = defaultdict(list)
        for ledger in self._ledgers:
            if ledger.exists():
                for thread_id, texts in Ledger.read(ledger)[0].items():
                    said[thread_id] += texts
        return said


async def follow(store: ThreadStore, thread_id: str, seen: list[tuple[int | None, str]]) -> None:
    """Note what comes to a thread, without end."""
    while True:
        with suppress(ThreadNotFound):  # not created yet
            async with aclosing(store.watch_thread(thread_id)) as watch:
                async for entry in watch:
                    assert isinstance(entry, RolloutItem)
                    seen.append((entry.position, entry.payload.get("message", "")))
        await asyncio.sleep(0.1)


def lines_of(harness: PostgresHarness) -> dict[str, list[tuple[int, str]]]:
    """What is in the table, by thread."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    query = "SELECT thread_id::text, position, line FROM threadstore.thread_items ORDER BY 1, 2"
    for thread_id, position, line in harness.look(query):
        found[thread_id].append((position, json.loads(line)["payload"].get("message", "")))
    return found


@pytest.mark.timeout(3600 if DEEP else 180)
async def test_nothing_is_lost_or_doubled_whatever_is_killed(tmp_path: Path) -> None:
    ids = [new_thread_id() for _ in range(THREADS)]
    with PostgresServer() as server:
        harness = PostgresHarness(server, retry_for=60)
        hammers = Hammers(harness.config.dsn + LEASE, tmp_path, ids)
        async with PostgresThreadStore(harness.config) as store:
            seen: dict[str, list[tuple[int | None, str]]] = {each: [] for each in ids[:FOLLOWED]}
            following = [asyncio.create_task(follow(store, *each)) for each in seen.items()]
            for _ in range(KILLS):
                await asyncio.sleep(random.random() + 0.5)
                await asyncio.to_thread(server.restart_after_kill)
                await asyncio.sleep(random.random())
                await asyncio.to_thread(hammers.kill_one)
            await asyncio.sleep(2.5)  # the last one takes over as well
            await asyncio.to_thread(hammers.stop)
            there = lines_of(harness)
            async with asyncio.timeout(60):
                while any(len(seen[each]) < len(there.get(each, ())) for each in seen):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            for task in following:
                assert not task.done()
                task.cancel()
            await asyncio.wait(following)
            findings = await store.inspect()
        acknowledged = hammers.acknowledged()
        assert len(acknowledged) > THREADS // 2
        for thread_id, lines in there.items():
            assert [position for position, _ in lines] == [*range(1, len(lines) + 1)]
            said = Counter(text for _, text in lines)
            assert set(said.values()) == {1}
            assert not set(acknowledged[thread_id]) - said.keys()
        for thread_id, entries in seen.items():
            assert entries == there.get(thread_id, [])
        assert not [each for each in findings if each.severity == "error"]
