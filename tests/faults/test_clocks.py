"""Clocks that go backwards, and zones other than UTC."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from threadstore import LiveThread, NewThread, ThreadQuery
from threadstore.clock import UTC
from threadstore.config import LocalStoreConfig
from threadstore.queries import SortKey
from threadstore.stores.local.store import LocalThreadStore
from threadstore.testing import ManualClock, items

PROGRAM = """
import asyncio, datetime as dt, json, sys
from threadstore import *
from threadstore.config import LocalStoreConfig
from threadstore.stores.local.store import LocalThreadStore
from threadstore.testing import ManualClock, items

async def main(home, *moments):
    said = []
    for moment in moments:
        clock = ManualClock(dt.datetime.fromisoformat(moment))
        async with LocalThreadStore(LocalStoreConfig(home=home), clock=clock) as store:
            live = await LiveThread.create(store, NewThread(cwd=""), clock=clock)
            await live.append_items(items.turn("t1", moment, at=clock.now()))
            await live.shutdown()
            stored = await store.read_thread(live.id)
            said.append([live.id, stored.rollout_path])
            await store.archive_thread(live.id)
            await store.unarchive_thread(live.id)
            assert (await store.read_thread(live.id)).rollout_path == stored.rollout_path
    print(json.dumps(said))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_clock_that_goes_backwards_takes_nothing_back(tmp_path: Path) -> None:
    clock = ManualClock()
    config = LocalStoreConfig(home=str(tmp_path))
    async with LocalThreadStore(config, clock=clock) as store:
        live = await LiveThread.create(store, NewThread(cwd=""), clock=clock)
        await live.append_items(items.turn("t1", "before", at=clock.now()))
        before = await live.read()
        clock.advance(-3600)
        await live.append_items(items.turn("t2", "after", at=clock.now()))
        after = await live.read()
        assert after.created_at == before.created_at
        assert after.updated_at >= before.updated_at
        assert after.recency_at >= before.recency_at
        later = await LiveThread.create(store, NewThread(cwd=""), clock=clock)
        await later.append_items(items.turn("t1", "younger by its clock", at=clock.now()))
        for handle in (live, later):
            await handle.shutdown()
        messages = [
            item.payload.get("message") for item in (await store.load_history(live.id)).items
        ]
        assert messages.index("before") < messages.index("after")
    (tmp_path / "threadstore_1.sqlite").unlink()
    async with LocalThreadStore(config, clock=clock) as store:
        assert (await store.read_thread(live.id)).updated_at >= before.updated_at
        for key in SortKey:
            page = await store.list_threads(ThreadQuery(sort_key=key))
            assert [thread.id for thread in page.items] == [live.id, later.id], key


@pytest.mark.parametrize(
    ("zone", "moments"),
    [
        ("Asia/Kolkata", {"2026-03-04T20:00:00+00:00": "2026/03/05/rollout-2026-03-05T01-30-00"}),
        (
            "America/St_Johns",  # clocks go forward on 8 March at 2:00 local, back on 1 November
            {
                "2026-03-08T05:29:59+00:00": "2026/03/08/rollout-2026-03-08T01-59-59",
                "2026-03-08T05:30:00+00:00": "2026/03/08/rollout-2026-03-08T03-00-00",
                "2026-11-01T03:45:00+00:00": "2026/11/01/rollout-2026-11-01T01-15-00",
                "2026-11-01T04:45:00+00:00": "2026/11/01/rollout-2026-11-01T01-15-00",
            },
        ),
    ],
)
async def test_file_names_are_local_and_times_are_utc(
    tmp_path: Path, zone: str, moments: dict[str, str]
) -> None:
    said = in_zone(zone, tmp_path, [*moments])
    names = [os.path.relpath(path, tmp_path / "sessions") for _, path in said]
    wanted = [
        f"{start}-{thread_id}.jsonl"
        for start, (thread_id, _) in zip(moments.values(), said, strict=True)
    ]
    assert names == wanted
    (tmp_path / "threadstore_1.sqlite").unlink()
    async with LocalThreadStore(LocalStoreConfig(home=str(tmp_path))) as store:
        page = await store.list_threads(ThreadQuery(sort_key=SortKey.CREATED, descending=False))
        times = [dt.datetime.fromisoformat(moment).astimezone(UTC) for moment in moments]
        assert [thread.created_at for thread in page.items] == times
        assert [thread.id for thread in page.items] == [thread_id for thread_id, _ in said]


def in_zone(zone: str, home: Path, moments: list[str]) -> list[tuple[str, str]]:
    """Ids and paths of threads made at *moments* by a process in another zone."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(home), *moments],
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [(thread_id, path) for thread_id, path in json.loads(done.stdout)]
