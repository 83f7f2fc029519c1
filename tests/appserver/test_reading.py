"""Reading threads: their facts, their turns, their items, in pages."""

from __future__ import annotations

from typing import Any

import pytest
from tests.appserver.clients import Client
from tests.appserver.world import UNKNOWN, World, gate, reached, serving

from threadstore.engine import tool
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing.scripted_model import Call, Reply, Say, Think

Json = dict[str, Any]


async def told(client: Client, *texts: str) -> str:
    """A thread in which that was said."""
    thread_id = await client.start(cwd="/a")
    for text in texts:
        await client.turn(thread_id, text)
    return thread_id


def said(turn: Json) -> str:
    """What the user said in a turn."""
    return str(turn["items"][0]["content"][0]["text"])


async def test_a_thread_is_read_with_and_without_its_turns(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await told(client, "first", "second")
    bare = await client.ask("thread/read", threadId=thread_id)
    assert (bare["thread"]["turns"], bare["thread"]["preview"]) == ([], "first")
    full = await client.ask("thread/read", threadId=thread_id, includeTurns=True)
    turns = full["thread"]["turns"]
    assert [said(turn) for turn in turns] == ["first", "second"]
    assert [turn["status"] for turn in turns] == ["completed", "completed"]


async def test_turns_of_a_thread_without_any_are_not_there_yet(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    refused = await client.refusal("thread/read", threadId=thread_id, includeTurns=True)
    assert refused.message == (
        f"thread {thread_id} is not materialized yet; includeTurns is unavailable before first "
        "user message"
    )
    page = await client.ask("thread/turns/list", threadId=thread_id)
    assert page == {"data": [], "nextCursor": None, "backwardsCursor": None}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("thread/read", {}),
        ("thread/turns/list", {}),
        ("thread/items/list", {}),
        ("thread/items/read", {"turnId": "t", "itemIds": []}),
        ("thread/searchOccurrences", {"searchTerm": "x"}),
    ],
)
async def test_an_unknown_thread_cannot_be_read(
    any_world: World, method: str, params: Json
) -> None:
    client = await any_world.connect()
    refused = await client.refusal(method, threadId=UNKNOWN, **params)
    assert (refused.message, refused.code) == (f"thread not loaded: {UNKNOWN}", -32600)
    assert refused.data["code"] == "thread_not_found"
    bad = await client.refusal(method, threadId="nope", **params)
    assert bad.message == "invalid thread id: nope"
    assert (await client.refusal(method, threadId=[], **params)).code == -32600
    assert (await client.refusal(method, **params)).code == -32600


async def test_an_archived_thread_is_read(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await told(client, "old")
    await client.ask("thread/archive", threadId=thread_id)
    read = await client.ask("thread/read", threadId=thread_id, includeTurns=True)
    assert [said(turn) for turn in read["thread"]["turns"]] == ["old"]
    assert len((await client.ask("thread/turns/list", threadId=thread_id))["data"]) == 1


async def test_turns_come_in_pages_both_ways(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await told(client, "0", "1", "2", "3", "4")
    seen: list[str] = []
    cursor = None
    while True:
        page = await client.ask("thread/turns/list", threadId=thread_id, limit=2, cursor=cursor)
        seen += [said(turn) for turn in page["data"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == ["4", "3", "2", "1", "0"]
    back = await client.ask(
        "thread/turns/list",
        threadId=thread_id,
        cursor=page["backwardsCursor"],
        sortDirection="asc",
    )
    assert [said(turn) for turn in back["data"]] == ["0", "1", "2", "3", "4"]


async def test_turns_are_shown_as_much_as_asked_for(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    world.says(Reply(Think("hm"), Say("let me see"), Say("done")))
    await client.turn(thread_id)
    views = {}
    for view in ("notLoaded", "summary", "full", None):
        page = await client.ask("thread/turns/list", threadId=thread_id, itemsView=view)
        [turn] = page["data"]
        views[view] = ([item["type"] for item in turn["items"]], turn["itemsView"])
    assert views["notLoaded"] == ([], "notLoaded")
    assert views["summary"] == (["userMessage", "agentMessage"], "summary")
    assert views["full"][0] == ["userMessage", "reasoning", "agentMessage", "agentMessage"]
    assert views[None] == views["summary"]


async def test_a_running_turn_is_in_progress_wherever_it_is_read(world: World) -> None:
    client = await world.connect()
    thread_id = await told(client, "before")
    pause = gate()
    world.says(Reply(pause, Say("late")))
    turn_id = await client.start_turn(thread_id)
    await reached(pause)
    read = await client.ask("thread/read", threadId=thread_id, includeTurns=True)
    page = await client.ask("thread/turns/list", threadId=thread_id)
    assert [turn["status"] for turn in read["thread"]["turns"]] == ["completed", "inProgress"]
    assert (page["data"][0]["id"], page["data"][0]["status"]) == (turn_id, "inProgress")
    assert read["thread"]["status"] == {"type": "active", "activeFlags": []}
    pause.gate.set()
    await client.completed(turn_id)
    listed = await client.ask("thread/list")
    assert listed["data"][0]["status"] == {"type": "idle"}


async def test_items_come_in_pages_both_ways(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await told(client, "0", "1", "2")
    everything = await client.ask("thread/items/list", threadId=thread_id)
    ids = [entry["item"]["id"] for entry in everything["data"]]
    assert len(ids) == 6
    seen: list[str] = []
    cursor = None
    while True:
        page = await client.ask(
            "thread/items/list", threadId=thread_id, limit=4, cursor=cursor, sortDirection="desc"
        )
        seen += [entry["item"]["id"] for entry in page["data"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]
    at = await client.ask("thread/items/list", threadId=thread_id, cursor={"itemId": ids[4]})
    assert [entry["item"]["id"] for entry in at["data"]] == ids[4:]


async def test_items_of_one_turn_are_listed_and_read(world: World) -> None:
    client = await world.connect()
    thread_id = await told(client, "0", "1")
    turns = await client.ask("thread/turns/list", threadId=thread_id)
    turn = turns["data"][0]
    page = await client.ask("thread/items/list", threadId=thread_id, turnId=turn["id"])
    items = [entry["item"] for entry in page["data"]]
    assert items == turn["items"]
    read = await client.ask(
        "thread/items/read", threadId=thread_id, turnId=turn["id"], itemIds=[items[1]["id"], "no"]
    )
    assert [entry["item"] for entry in read["data"]] == items[1:]
    refused = await client.refusal("thread/items/list", threadId=thread_id, turnId=UNKNOWN)
    assert UNKNOWN in refused.message


@pytest.mark.parametrize("cursor", ["bogus", "", "WzEsMl0", 5, {}, {"itemId": "none"}, []])
async def test_a_cursor_that_is_none_is_refused(client: Client, cursor: Any) -> None:
    thread_id = await told(client, "0")
    for method in ("thread/turns/list", "thread/items/list"):
        refused = await client.refusal(method, threadId=thread_id, cursor=cursor)
        assert refused.code == -32600
    if isinstance(cursor, str):
        assert refused.message == f"invalid cursor: {cursor}"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_calls_of_tools_are_read_as_they_were_told() -> None:
    async with serving(MemoryThreadStore(), tools=[add]) as world:
        client = await world.connect()
        thread_id = await client.start(cwd="/a", historyMode="paginated")
        world.says(Reply(Call("add", {"a": 1, "b": 2})), Reply(Say("3")))
        await client.turn(thread_id)
        live = [note["item"] for note in client.notes("item/completed")]
        read = await client.ask("thread/read", threadId=thread_id, includeTurns=True)
        stored = read["thread"]["turns"][0]["items"]
        assert [item["type"] for item in stored] == [item["type"] for item in live]
