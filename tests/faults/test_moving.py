"""A thread that another process archives and unarchives all the time never seems to be gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from threadstore import LiveThread, NewThread, ThreadQuery, open_store
from threadstore.testing import items

MOVE = """
import asyncio, sys
from threadstore import open_store

async def main(url, thread_id, times):
    async with open_store(url) as store:
        for _ in range(times):
            await store.archive_thread(thread_id)
            await store.unarchive_thread(thread_id)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""
EVERYTHING = ThreadQuery(archived=None, limit=1000)


def move(url: str, thread_id: str, *, times: int) -> subprocess.Popen[bytes]:
    """A process that archives and unarchives the thread."""
    return subprocess.Popen([sys.executable, "-c", MOVE, url, thread_id, str(times)])


async def test_a_thread_that_is_moved_while_we_look_is_seen_all_the_time(tmp_path: Path) -> None:
    url = f"local:{tmp_path}/home"
    async with open_store(url) as store:
        ids = set()
        for _ in range(20):
            live = await LiveThread.create(store, NewThread(cwd=""))
            await live.append_items(items.turn("t1", "hello"))
            await live.shutdown()
            ids.add(live.id)
        moving = min(ids)
        with move(url, moving, times=12) as mover:
            while mover.poll() is None:
                page = await store.list_threads(EVERYTHING)
                assert {thread.id for thread in page.items} == ids
                assert (await store.read_thread(moving)).preview == "hello"
                assert len((await store.load_history(moving)).items) == 8
                assert [chunk async for chunk in store.raw_history(moving)]
        assert mover.returncode == 0
