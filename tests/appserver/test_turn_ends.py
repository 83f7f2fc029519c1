"""When the next turn can start."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.appserver.world import World

from threadstore.testing.scripted_model import Pause, Reply, Say

Json = dict[str, Any]
GO = [{"type": "text", "text": "go"}]


async def test_whoever_hears_that_a_turn_has_ended_can_start_the_next(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    turns = [await client.turn(thread_id) for _ in range(20)]
    assert len({turn["id"] for turn in turns}) == 20


async def test_input_that_comes_during_a_compaction_gets_a_turn_of_its_own(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    gate, reached = asyncio.Event(), asyncio.Event()
    world.says(Reply(Pause(gate, reached), Say("summary")))
    seen = len(client.heard)
    await client.ask("thread/compact/start", threadId=thread_id)
    await reached.wait()
    request = await client.begin("turn/start", {"threadId": thread_id, "input": GO})
    gate.set()
    turn = (await client.answer_to(request))["turn"]
    assert (await client.completed(turn["id"]))["status"] == "completed"
    started = [note["turn"]["id"] for note in client.notes("turn/started", seen)]
    assert len(started) == 2
    assert started[1] == turn["id"]
