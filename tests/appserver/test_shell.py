"""Commands of the user's own are told to have failed."""

from __future__ import annotations

import asyncio

from tests.appserver.world import World

from threadstore.testing.scripted_model import Pause, Reply, Say

TURN = [
    "=thread/shellCommand",
    "thread/status/changed",
    "turn/started",
    "item/started",
    "item/completed",
    "thread/status/changed",
    "turn/completed",
]


async def test_a_command_fails_in_a_turn_that_nobody_keeps(any_world: World) -> None:
    client, other = await any_world.connect(), await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    await other.ask("thread/resume", threadId=thread_id)
    seen, before = len(client.heard), len(other.heard)
    await client.ask("thread/shellCommand", threadId=thread_id, command="ls")
    await client.note("turn/completed", seen)
    assert client.methods(seen) == TURN
    [told] = client.notes("item/completed", seen)
    item = told["item"]
    assert (item["command"], item["cwd"], item["status"]) == ("ls", "/a", "failed")
    assert "no shell" in item["aggregatedOutput"]
    await other.settle()
    assert "item/completed" not in other.methods(before)
    read = await client.ask("thread/read", threadId=thread_id, includeTurns=True)
    assert len(read["thread"]["turns"]) == 1


async def test_a_command_in_the_middle_of_a_turn_is_told_within_it(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    gate, reached = asyncio.Event(), asyncio.Event()
    world.says(Reply(Pause(gate, reached), Say("done")))
    turn_id = await client.start_turn(thread_id)
    await reached.wait()
    await client.note("item/completed")  # what the user said
    seen = len(client.heard)
    await client.ask("thread/shellCommand", threadId=thread_id, command="ls")
    told = await client.note("item/completed", seen)
    assert told["turnId"] == turn_id
    assert client.methods(seen) == ["=thread/shellCommand", "item/started", "item/completed"]
    gate.set()
    assert (await client.completed(turn_id))["status"] == "completed"
