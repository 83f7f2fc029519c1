"""What clients hear of a thread beside its turns: failures, and what was used."""

from __future__ import annotations

from tests.appserver.world import World

from threadstore.engine import ModelError
from threadstore.testing.scripted_model import Reply


async def test_a_thread_whose_turn_failed_says_so_until_the_next(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    any_world.says(Reply(error=ModelError("no", kind="usage_limit_exceeded")))
    seen = len(client.heard)
    assert (await client.turn(thread_id))["status"] == "failed"
    order = [m for m in client.methods(seen) if m in {"thread/status/changed", "error"}]
    assert order == ["thread/status/changed", "thread/status/changed", "error"]
    statuses = [note["status"]["type"] for note in client.notes("thread/status/changed", seen)]
    assert statuses == ["active", "systemError"]
    read = await client.ask("thread/read", threadId=thread_id)
    assert read["thread"]["status"] == {"type": "systemError"}
    await client.turn(thread_id)
    read = await client.ask("thread/read", threadId=thread_id)
    assert read["thread"]["status"] == {"type": "idle"}


async def test_whoever_gets_all_turns_is_told_what_they_used(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    turn = await client.turn(thread_id)
    [used] = client.notes("thread/tokenUsage/updated")
    for method in ("thread/resume", "thread/fork"):
        other = await any_world.connect()
        answer = await other.ask(method, threadId=thread_id)
        told = await other.note("thread/tokenUsage/updated")
        assert (told["threadId"], told["turnId"]) == (answer["thread"]["id"], turn["id"])
        assert told["tokenUsage"] == used["tokenUsage"]


async def test_everybody_is_told_of_a_thread_that_is_loaded_before_it_is_answered(
    any_world: World,
) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    await client.ask("thread/unsubscribe", threadId=thread_id)
    await client.note("thread/closed", threadId=thread_id)
    watching, other = await any_world.connect(), await any_world.connect()
    seen = len(other.heard)
    await other.ask("thread/resume", threadId=thread_id, excludeTurns=True)
    assert other.methods(seen) == ["thread/status/changed", "=thread/resume"]
    told = await watching.note("thread/status/changed", threadId=thread_id)
    assert told["status"] == {"type": "idle"}


async def test_whoever_wants_no_turns_is_not_told_what_they_used(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    other = await world.connect()
    await other.ask("thread/resume", threadId=thread_id, excludeTurns=True)
    await other.settle()
    assert other.notes("thread/tokenUsage/updated") == []
