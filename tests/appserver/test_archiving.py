"""Archiving, unarchiving and deleting threads."""

from __future__ import annotations

from typing import Any

import pytest
from tests.appserver.clients import Client, in_order
from tests.appserver.world import UNKNOWN, World, gate, reached

from threadstore.testing.scripted_model import Reply, Say

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("thread/archive", "no rollout found for thread id {}"),
        ("thread/unarchive", "no archived rollout found for thread id {}"),
        ("thread/delete", "no rollout found for thread id {}"),
    ],
)
async def test_a_thread_that_is_not_there_stays_so(
    any_world: World, method: str, message: str
) -> None:
    client = await any_world.connect()
    refused = await client.refusal(method, threadId=UNKNOWN)
    assert (refused.message, refused.code) == (message.format(UNKNOWN), -32600)
    assert (await client.refusal(method, threadId="x")).message == "invalid thread id: x"
    assert (await client.refusal(method)).code == -32600


@pytest.mark.parametrize("loaded", [True, False])
async def test_a_thread_is_archived_and_comes_back(any_world: World, loaded: bool) -> None:
    client, other = await any_world.connect(), await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    if not loaded:
        await client.ask("thread/unsubscribe", threadId=thread_id)
        await client.note("thread/closed")
    assert await client.ask("thread/archive", threadId=thread_id) == {}
    await client.note("thread/archived", threadId=thread_id)
    await other.note("thread/archived", threadId=thread_id)
    assert in_order(client.methods(), "=thread/archive", "thread/archived")
    assert (await client.ask("thread/list"))["data"] == []
    assert (await client.ask("thread/loaded/list"))["data"] == []
    refused = await client.refusal("thread/archive", threadId=thread_id)
    assert refused.message == f"thread is archived already: {thread_id}"
    answer = await client.ask("thread/unarchive", threadId=thread_id)
    assert answer["thread"]["status"] == {"type": "notLoaded"}
    await other.note("thread/unarchived", threadId=thread_id)
    assert in_order(client.methods(), "=thread/unarchive", "thread/unarchived")
    assert [t["id"] for t in (await client.ask("thread/list"))["data"]] == [thread_id]
    refused = await client.refusal("thread/unarchive", threadId=thread_id)
    assert refused.message == f"thread is not archived: {thread_id}"
    await client.ask("thread/resume", threadId=thread_id)
    await client.turn(thread_id)


async def test_a_thread_without_turns_is_archived(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    assert await client.ask("thread/archive", threadId=thread_id) == {}
    thread = (await client.ask("thread/read", threadId=thread_id))["thread"]
    assert thread["preview"] == ""
    await client.ask("thread/unarchive", threadId=thread_id)
    assert (await client.ask("thread/resume", threadId=thread_id))["model"] == "m1"
    await client.turn(thread_id)


async def test_archiving_interrupts_the_turn_that_runs(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    pause = gate()
    any_world.says(Reply(Say("half"), pause))
    turn_id = await client.start_turn(thread_id)
    await reached(pause)
    await client.ask("thread/archive", threadId=thread_id)
    await client.note("thread/archived")
    assert (await client.completed(turn_id))["status"] == "interrupted"
    assert in_order(client.methods(), "turn/completed", "thread/closed", "=thread/archive")
    page = await client.ask("thread/turns/list", threadId=thread_id)
    assert [turn["status"] for turn in page["data"]] == ["interrupted"]


@pytest.mark.parametrize("state", ["loaded", "cold", "archived", "unused"])
async def test_a_thread_is_deleted_for_good(any_world: World, state: str) -> None:
    client, other = await any_world.connect(), await any_world.connect()
    thread_id = await client.start(cwd="/a")
    if state != "unused":
        await client.turn(thread_id)
    if state == "cold":
        await client.ask("thread/unsubscribe", threadId=thread_id)
        await client.note("thread/closed")
    if state == "archived":
        await client.ask("thread/archive", threadId=thread_id)
    assert await client.ask("thread/delete", threadId=thread_id) == {}
    await other.note("thread/deleted", threadId=thread_id)
    await client.note("thread/deleted", threadId=thread_id)
    assert in_order(client.methods(), "=thread/delete", "thread/deleted")
    for archived in (True, False):
        assert (await client.ask("thread/list", archived=archived))["data"] == []
    refused = await client.refusal("thread/read", threadId=thread_id)
    assert refused.message == f"thread not loaded: {thread_id}"
    assert (await client.refusal("thread/delete", threadId=thread_id)).code == -32600


async def test_who_follows_a_thread_hears_that_it_closed_before_it_went(world: World) -> None:
    client, other = await world.connect(), await world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    await other.ask("thread/resume", threadId=thread_id)
    await client.ask("thread/delete", threadId=thread_id)
    await other.note("thread/deleted", threadId=thread_id)
    assert in_order(other.methods(), "thread/closed", "thread/deleted")


async def test_the_same_thread_is_archived_once_by_two_at_once(client: Client) -> None:
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    asked = [await client.begin("thread/archive", {"threadId": thread_id}) for _ in range(2)]
    answers = [
        await client.first(lambda m, wanted=each: m.get("id") == wanted and "method" not in m)  # type: ignore[misc]
        for each in asked
    ]
    assert sorted("result" in answer for answer in answers) == [False, True]
    await client.settle()
    assert len(client.notes("thread/archived")) == 1
