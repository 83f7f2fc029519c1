"""One conversation, beside the OpenAI Agents SDK's SQLiteSession and LangGraph's SqliteSaver.

They live in an environment of their own in the cache, which is made when it is missing; a quick run
leaves them out then.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from benchmarks.measure import Result
from benchmarks.peer_sessions import conversation
from benchmarks.sizes import CACHE, is_quick, pick
from threadstore import LiveThread, NewThread, RolloutItem, open_store

PACKAGES: Final = ("openai-agents", "langgraph-checkpoint-sqlite")
NAMES: Final = {"agents": "OpenAI Agents SDK", "langgraph": "LangGraph"}


def _python() -> str | None:
    """The Python that has the peers."""
    python = CACHE / "venv" / "bin" / "python"
    marker = CACHE / "venv" / "complete"
    if not marker.exists():
        if is_quick():
            return None
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / "venv")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES], check=True)
        marker.touch()
    return str(python)


async def _ours(home: str, turns: int) -> dict[str, float]:
    """The same through LiveThread, each line with and without a flush. A commit of theirs survives
    the end of the process, and power loss where SQLite's settings say so."""
    lines = [
        RolloutItem(
            "response_item",
            {
                "type": "message",
                "role": item["role"],
                "content": [{"type": "output_text", "text": item["content"]}],
            },
        )
        for item in conversation(turns)
    ]
    appended, flushed = [], []
    async with open_store(f"local:{home}") as store:
        async with await LiveThread.create(store, NewThread(cwd="")) as live:
            for line in lines:
                start = time.perf_counter()
                await live.append_items([line])
                appended.append(time.perf_counter() - start)
                await live.flush()
                flushed.append(time.perf_counter() - start)
        path = live.rollout_path
    assert path is not None
    async with open_store(f"local:{home}") as store:
        start = time.perf_counter()
        history = await store.load_history(live.id)
        assert len([item.payload for item in history.items]) == 2 * turns + 1
        read = time.perf_counter() - start
    return {
        "append": statistics.median(appended),
        "flushed": statistics.median(flushed),
        "read": read,
        "size": os.path.getsize(path),
    }


def conversations(folder: str) -> Iterator[Result]:
    """Keeping a conversation item by item, and reading it."""
    python, turns = _python(), pick(200, 20)
    if python is None:
        return
    os.makedirs(folder)
    script = os.path.join(os.path.dirname(__file__), "peer_sessions.py")
    for kind, name in NAMES.items():
        rounds: list[tuple[dict[str, float], dict[str, Any]]] = []
        for number in range(pick(3, 1)):
            home, database = f"{folder}/{kind}-{number}", f"{folder}/{kind}-{number}.db"
            mine = asyncio.run(_ours(home, turns))
            command = [python, script, kind, database, str(turns)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rounds.append((mine, json.loads(done.stdout)))
            shutil.rmtree(home)
        for what, key, theirs, unit, goal in (
            ("append a message", "append", "append", "s", 1.0),
            ("append a message and flush it to the disk", "flushed", "append", "s", None),
            (f"read {2 * turns:,} messages", "read", "read", "s", None),
            (f"bytes for {2 * turns:,} messages", "size", "size", "bytes", None),
        ):
            yield Result(
                name=f"{what} / {name}",
                ours=min(pair[0][key] for pair in rounds),
                limit=float(min(pair[1][theirs] for pair in rounds)),
                unit=unit,
                goal=goal,
                higher_is_better=False,
            )


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [conversations]
