"""Kills writers with SIGKILL at random moments and looks at what they leave behind.

Run as a program by ``test_kill.py``: ``kill_driver.py HOME ROUNDS SEED``. Forking from one warm
process makes hundreds of rounds affordable. Prints one JSON object: what was seen, and every
broken promise.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import sys
import time
from typing import Any

from threadstore import LiveThread, NewThread, RolloutItem, ThreadMetadataPatch, open_store

NAMES = ("one", "two", "three")


def _message(number: int, rng: random.Random) -> RolloutItem:
    text = f"{number} " + "x" * rng.choice((10, 1_000, 90_000))
    return RolloutItem("event_msg", {"type": "user_message", "message": text})


async def _write(home: str, thread_id: str | None, start: int, report: int, seed: int) -> None:
    """Append for ever; say on *report* what was acknowledged, after it was."""
    rng = random.Random(seed)

    def acknowledge(**facts: Any) -> None:
        os.write(report, json.dumps(facts).encode() + b"\n")

    async with open_store(f"local:{home}") as store:
        if thread_id is None:
            live = await LiveThread.create(store, NewThread(cwd=""), probe_git=False)
        else:
            live = await LiveThread.resume(store, thread_id)
        acknowledge(thread=live.id)
        number = start
        while True:
            batch = [_message(number + offset, rng) for offset in range(rng.randint(1, 4))]
            await live.append_items(batch)
            number += len(batch)
            acknowledge(items=number)
            if rng.random() < 0.2:
                name = f"{rng.choice(NAMES)} {number}"
                await live.update_metadata(ThreadMetadataPatch(name=name, memory_mode="disabled"))
                acknowledge(name=name)


def _round(home: str, thread_id: str | None, start: int, rng: random.Random) -> dict[str, Any]:
    """One writer, killed; what it had acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        asyncio.run(_write(home, thread_id, start, writing, rng.randrange(1 << 30)))
        os._exit(1)
    os.close(writing)
    acknowledged: dict[str, Any] = {"items": start}
    data = b""
    deadline: float | None = None
    while deadline is None or time.monotonic() < deadline:
        wait = None if deadline is None else max(deadline - time.monotonic(), 0)
        if not select.select([reading], [], [], wait)[0]:
            break
        chunk = os.read(reading, 65536)
        if not chunk:
            break
        data += chunk
        if deadline is None:
            deadline = time.monotonic() + rng.random() * 0.05
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while chunk := os.read(reading, 65536):
        data += chunk
    os.close(reading)
    for line in data.splitlines():
        acknowledged.update(json.loads(line))
    return acknowledged


async def _verify(home: str, seen: dict[str, Any], before: dict[str, Any]) -> tuple[int, list[str]]:
    """How many items there are now, and what is not as promised."""
    problems: list[str] = []
    thread_id = seen["thread"]
    async with open_store(f"local:{home}") as store:
        if seen["items"] == 0 and "name" not in seen:
            listed = [thread.id for thread in (await store.list_threads()).items]
            if thread_id not in listed:
                return 0, problems
        history = await store.load_history(thread_id)
        numbers = [
            int(item.payload["message"].split(" ", 1)[0])
            for item in history.items
            if item.kind == "user_message"
        ]
        if numbers != list(range(len(numbers))):
            problems.append(f"items are not 0..n in order: {numbers[:5]}… ({len(numbers)})")
        if len(numbers) < seen["items"]:
            problems.append(f"{seen['items']} items acknowledged, {len(numbers)} found")
        if len(history.damage) > before.get("damage", 0) + 1:
            problems.append(f"one kill damaged {len(history.damage)} lines")
        before["damage"] = len(history.damage)
        thread = await store.read_thread(thread_id)
        # The kill may have come before the acknowledgement of a newer name; then that one stands.
        if "name" in seen and (thread.name is None or thread.memory_mode != "disabled"):
            problems.append(f"the name {seen['name']!r} or the memory mode is lost")
        if numbers and not thread.preview.startswith("0 "):
            problems.append(f"preview is {thread.preview[:20]!r}")
        listed = [found.id for found in (await store.list_threads()).items]
        if thread_id not in listed:
            problems.append("the thread is not listed")
    return len(numbers), problems


def main() -> None:
    home, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    problems: list[str] = []
    thread_id: str | None = None
    count = total = 0
    before: dict[str, Any] = {}
    for number in range(rounds):
        if thread_id is not None and count > 150:
            thread_id, count, before = None, 0, {}
        seen = _round(home, thread_id, count, rng)
        if "thread" not in seen:
            problems.append(f"round {number}: the writer did not start")
            continue
        start = count
        count, found = asyncio.run(_verify(home, seen, before))
        total += count - start
        problems += [f"round {number}: {problem}" for problem in found]
        thread_id = seen["thread"] if count or "name" in seen else None
    print(json.dumps({"rounds": rounds, "items": total, "problems": problems}))


if __name__ == "__main__":
    main()
