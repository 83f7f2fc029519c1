"""One line of many megabytes: what it costs in memory, measured in a process of its own."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from threadstore.factory import open_store
from threadstore.history.items import RolloutItem
from threadstore.metadata import NewThread

SIZE = 32_000_000
"""Bytes of the long line."""

_OPERATIONS = {
    "iter_history": "async for entry in store.iter_history(thread_id): pass",
    "backwards": "async for entry in store.iter_history(thread_id, reverse=True): pass",
    "load_history": "history = await store.load_history(thread_id)",
    "list_turns": "page = await store.list_turns(thread_id, limit=1)",
    "list_items": "page = await store.list_items(thread_id, limit=1)",
    "append": (
        "await store.resume_thread(thread_id)\n"
        "        item = RolloutItem('event_msg', {'type': 'error', 'message': 'x' * size})\n"
        "        await store.append_items(thread_id, [item])"
    ),
}
_PROGRAM = """
import asyncio, sys
from threadstore.factory import open_store
from threadstore.history.items import RolloutItem

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

async def main(home, thread_id, size):
    async with open_store("local:" + home) as store:
        await store.read_thread(thread_id)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak from now on
        before = peak()
        OPERATION
        print("grown by", peak() - before)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def _make(home: Path) -> str:
    async with open_store(f"local:{home}") as store:
        thread = await store.create_thread(NewThread(cwd="/a"))
        await store.append_items(
            thread.id,
            [
                RolloutItem("event_msg", {"type": "task_started", "turn_id": "t"}),
                RolloutItem("event_msg", {"type": "user_message", "message": "hello"}),
                RolloutItem("event_msg", {"type": "agent_message", "message": "a" * SIZE}),
                RolloutItem("event_msg", {"type": "task_complete", "turn_id": "t"}),
            ],
        )
        return thread.id


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("home")
    return folder, asyncio.run(_make(folder))


@pytest.mark.parametrize("name", _OPERATIONS)
def test_a_long_line_costs_three_times_its_size_at_most(home: tuple[Path, str], name: str) -> None:
    folder, thread_id = home
    program = _PROGRAM.replace("OPERATION", _OPERATIONS[name])
    command = [sys.executable, "-c", program, str(folder), thread_id, str(SIZE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"grown by (\d+)", done.stdout)
    assert found, done.stderr
    assert int(found[1]) * 1024 <= 3.2 * SIZE
