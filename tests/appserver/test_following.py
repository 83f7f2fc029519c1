"""Two servers on one store: one writes a thread, the other follows it, and takes it over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.appserver.clients import Client
from tests.appserver.world import World, gate, reached, serving

from threadstore.testing import LocalHarness, StoreHarness
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.scripted_model import Call, Reply, Say, Think

Json = dict[str, Any]

TOLD = {
    "item/completed",
    "item/started",
    "thread/status/changed",
    "thread/tokenUsage/updated",
    "turn/completed",
    "turn/started",
}


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(params=["local", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreHarness]:
    """Each store that several processes can share."""
    made: StoreHarness
    if request.param == "local":
        made = LocalHarness(tmp_path)
    else:
        made = PostgresHarness(request.getfixturevalue("postgres_server"))
    yield made
    made.close()


@pytest.fixture
async def worlds(shared: StoreHarness) -> AsyncIterator[tuple[World, World]]:
    """Two servers on the same store, as two processes have them."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(serving(shared.open(), tools=[add]))
        second = await stack.enter_async_context(serving(shared.open(), tools=[add]))
        yield first, second


def told(client: Client, after: int = 0) -> list[Json]:
    """What was told of turns. Times, the ids of items and how they began are left out."""
    notes = []
    for message in client.heard[after:]:
        if message.get("method") in TOLD:
            params = timeless(message["params"], "id")
            if message["method"] == "item/started":
                params["item"] = params["item"]["type"]
            notes.append({"method": message["method"], **params})
    return notes


def timeless(value: Any, *without: str) -> Any:
    """A value without the times in it."""
    if isinstance(value, dict):
        return {
            key: timeless(inner, *without)
            for key, inner in value.items()
            if not key.endswith(("At", "AtMs", "Ms")) and key not in without
        }
    return [timeless(inner, *without) for inner in value] if isinstance(value, list) else value


async def left(world: World, client: Client, thread_id: str) -> None:
    """Return when *client* is gone and its server has let go of the thread."""
    witness = await world.connect()
    await client.close()
    await witness.note("thread/closed", threadId=thread_id)


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_follower_is_told_what_the_writer_tells(
    worlds: tuple[World, World], mode: str
) -> None:
    first, second = worlds
    writer, follower = await first.connect(), await second.connect()
    thread_id = await writer.start(historyMode=mode)
    await writer.turn(thread_id, "one")
    answer = await follower.ask("thread/resume", threadId=thread_id)
    assert answer["thread"]["status"] == {"type": "idle"}
    assert [turn["status"] for turn in answer["thread"]["turns"]] == ["completed"]
    await follower.settle()
    start, joined = len(writer.heard), len(follower.heard)
    first.says(Reply(Think("first", "then"), Call("add", {"a": 1, "b": 2})), Reply(Say("three")))
    turn = await writer.turn(thread_id, "two")
    await follower.completed(turn["id"])
    await writer.settle()
    expected = told(writer, start)
    if mode == "legacy":  # its histories hold calls for the model only, as those of Codex
        expected = [each for each in expected if "dynamicToolCall" not in str(each.get("item"))]
    assert told(follower, joined) == expected
    items = [note["item"] for note in follower.notes("item/completed")]
    read = await follower.ask("thread/read", threadId=thread_id, includeTurns=True)
    assert timeless(items) == timeless(read["thread"]["turns"][-1]["items"])


async def test_a_thread_is_followed_from_the_middle_of_a_turn(
    worlds: tuple[World, World],
) -> None:
    first, second = worlds
    writer, follower = await first.connect(), await second.connect()
    thread_id = await writer.start()
    pause = gate()
    first.says(Reply(pause, Say("slow")))
    turn_id = await writer.start_turn(thread_id)
    await reached(pause)
    answer = await follower.ask("thread/resume", threadId=thread_id)
    assert answer["thread"]["status"] == {"type": "active", "activeFlags": []}
    assert [turn["status"] for turn in answer["thread"]["turns"]] == ["inProgress"]
    page = await follower.ask("thread/turns/list", threadId=thread_id)
    assert page["data"][0]["status"] == "inProgress"
    assert isinstance(pause.gate, asyncio.Event)
    pause.gate.set()
    assert (await follower.completed(turn_id))["status"] == "completed"
    assert follower.notes("item/completed")[-1]["item"]["text"] == "slow"


async def test_who_changes_a_followed_thread_is_told_who_writes_it(
    worlds: tuple[World, World],
) -> None:
    first, second = worlds
    writer, follower = await first.connect(), await second.connect()
    thread_id = await writer.start()
    await writer.turn(thread_id)
    await follower.ask("thread/resume", threadId=thread_id)
    given = [{"type": "text", "text": "me too"}]
    refusals = [
        await follower.refusal("turn/start", threadId=thread_id, input=given),
        await follower.refusal("thread/compact/start", threadId=thread_id),
        await follower.refusal("thread/archive", threadId=thread_id),
        await follower.refusal("thread/delete", threadId=thread_id),
    ]
    for refused in refusals:
        assert refused.code == -32600
        assert "writer" in refused.message, refused.message
        assert refused.data["code"] == "conflict"
        assert refused.data["hint"]
    await writer.turn(thread_id, "still here")
    await follower.note("turn/completed")
    assert not follower.notes("thread/closed")


async def test_a_follower_takes_over_when_the_writer_has_left(
    worlds: tuple[World, World],
) -> None:
    first, second = worlds
    writer, follower = await first.connect(), await second.connect()
    other = await second.connect("other")
    thread_id = await writer.start()
    await writer.turn(thread_id, "one")
    for client in (follower, other):
        await client.ask("thread/resume", threadId=thread_id)
    await left(first, writer, thread_id)
    turn = await follower.turn(thread_id, "two")
    assert turn["status"] == "completed"
    assert (await other.completed(turn["id"]))["status"] == "completed"
    sent = [item["content"] for item in second.model.requests[-1].input if item["role"] == "user"]
    assert "one" in str(sent)
    assert "two" in str(sent)
    back = await first.connect()
    await back.ask("thread/resume", threadId=thread_id)
    turn = await follower.turn(thread_id, "three")
    assert (await back.completed(turn["id"]))["status"] == "completed"


async def test_a_revert_is_told_to_followers(worlds: tuple[World, World]) -> None:
    first, second = worlds
    writer, follower = await first.connect(), await second.connect()
    thread_id = await writer.start()
    await writer.turn(thread_id, "one")
    turn = await writer.turn(thread_id, "two")
    await follower.ask("thread/resume", threadId=thread_id)
    await writer.ask("thread/revert", threadId=thread_id, beforeTurnId=turn["id"])
    await follower.note("thread/reverted", threadId=thread_id)
    turn = await writer.turn(thread_id, "another two")
    await follower.completed(turn["id"])
    items = [note["item"] for note in follower.notes("item/completed")]
    read = await follower.ask("thread/read", threadId=thread_id, includeTurns=True)
    assert len(read["thread"]["turns"]) == 2
    assert timeless(items) == timeless(read["thread"]["turns"][-1]["items"])


async def test_a_thread_that_is_deleted_is_followed_no_more(worlds: tuple[World, World]) -> None:
    first, second = worlds
    writer, follower = await first.connect(), await second.connect()
    thread_id = await writer.start()
    await writer.turn(thread_id)
    await follower.ask("thread/resume", threadId=thread_id)
    await writer.ask("thread/delete", threadId=thread_id)
    await follower.note("thread/closed", threadId=thread_id)
    assert (await follower.ask("thread/loaded/list"))["data"] == []


async def test_nobody_follows_for_a_client_that_has_left(worlds: tuple[World, World]) -> None:
    first, second = worlds
    writer, follower = await first.connect(), await second.connect()
    thread_id = await writer.start()
    await writer.turn(thread_id)
    await follower.ask("thread/resume", threadId=thread_id)
    assert (await follower.ask("thread/loaded/list"))["data"] == [thread_id]
    answer = await follower.ask("thread/unsubscribe", threadId=thread_id)
    assert answer == {"status": "unsubscribed"}
    await follower.note("thread/closed", threadId=thread_id)
    assert (await writer.turn(thread_id))["status"] == "completed"


async def test_a_thread_without_history_cannot_be_followed(worlds: tuple[World, World]) -> None:
    first, second = worlds
    writer, follower = await first.connect(), await second.connect()
    thread_id = await writer.start()
    refused = await follower.refusal("thread/resume", threadId=thread_id)
    assert refused.message == f"no rollout found for thread id {thread_id}"
