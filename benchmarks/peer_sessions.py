"""The same conversation kept by another library; run by the Python of its own environment.

``python peer_sessions.py agents|langgraph FILE TURNS`` prints seconds per append, seconds to read
the whole conversation, and bytes on the disk, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from typing import Any

TEXT = "All work and no play makes Jack a dull boy. " * 21


def conversation(turns: int) -> list[dict[str, Any]]:
    """A question and an answer of 1 KB a turn, in the shape of the Responses API."""
    return [
        {"role": role, "content": f"{number:06} {TEXT}"}
        for number in range(turns)
        for role in ("user", "assistant")
    ]


async def agents(path: str, turns: int) -> tuple[list[float], float]:
    """OpenAI Agents SDK: ``SQLiteSession``."""
    from agents import SQLiteSession  # type: ignore[import-not-found, unused-ignore]

    session, times = SQLiteSession("bench", path), []
    for item in conversation(turns):
        start = time.perf_counter()
        await session.add_items([item])
        times.append(time.perf_counter() - start)
    session.close()
    start = time.perf_counter()
    session = SQLiteSession("bench", path)
    assert len(await session.get_items()) == 2 * turns
    return times, time.perf_counter() - start


async def langgraph(path: str, turns: int) -> tuple[list[float], float]:
    """LangGraph: a checkpoint by ``SqliteSaver`` after every message, as a graph leaves it."""
    from langgraph.checkpoint.base import (  # type: ignore[import-not-found, unused-ignore]
        empty_checkpoint,
    )
    from langgraph.checkpoint.sqlite import (  # type: ignore[import-not-found, unused-ignore]
        SqliteSaver,
    )

    config: Any = {"configurable": {"thread_id": "bench", "checkpoint_ns": ""}}
    latest, messages, times = config, [], []
    with SqliteSaver.from_conn_string(path) as saver:
        for number, item in enumerate(conversation(turns)):
            messages.append(item)
            checkpoint = empty_checkpoint()
            checkpoint["channel_values"] = {"messages": messages}
            checkpoint["channel_versions"] = {"messages": number + 1}
            metadata: Any = {"source": "loop", "step": number, "parents": {}}
            start = time.perf_counter()
            latest = saver.put(latest, checkpoint, metadata, {"messages": number + 1})
            times.append(time.perf_counter() - start)
    with SqliteSaver.from_conn_string(path) as saver:
        start = time.perf_counter()
        found = saver.get_tuple(config)
        assert len(found.checkpoint["channel_values"]["messages"]) == 2 * turns
        return times, time.perf_counter() - start


def main() -> None:
    """Keep the conversation, read it, say what it cost."""
    kind, path, turns = sys.argv[1], sys.argv[2], int(sys.argv[3])
    work = {"agents": agents, "langgraph": langgraph}[kind]
    times, read = asyncio.run(work(path, turns))
    size = sum(os.path.getsize(path + end) for end in ("", "-wal") if os.path.exists(path + end))
    print(json.dumps({"append": statistics.median(times), "read": read, "size": size}))


if __name__ == "__main__":
    main()
