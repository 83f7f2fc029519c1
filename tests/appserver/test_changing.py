"""Changing threads: names, metadata, settings, history."""

from __future__ import annotations

from typing import Any

import pytest
from tests.appserver.clients import Client, in_order
from tests.appserver.world import UNKNOWN, World, gate, reached

from threadstore.testing.scripted_model import Reply, Say

Json = dict[str, Any]
HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "psst"}]}

METADATA: list[tuple[str, Json]] = [
    ("thread/name/set", {"name": "n"}),
    ("thread/metadata/update", {"gitInfo": {"branch": "b"}}),
    ("thread/memoryMode/set", {"mode": "disabled"}),
]
SESSION: list[tuple[str, Json]] = [
    ("thread/settings/update", {"effort": "high"}),
    ("thread/inject_items", {"items": [HELLO]}),
    ("thread/compact/start", {}),
    ("thread/revert", {"beforeTurnId": UNKNOWN}),
    ("thread/rollback", {"numTurns": 1}),
]


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [(*each, "no rollout found for thread id {}") for each in METADATA]
    + [(*each, "thread not found: {}") for each in SESSION],
)
async def test_a_thread_that_is_not_there_is_not_changed(
    world: World, method: str, params: Json, message: str
) -> None:
    client = await world.connect()
    refused = await client.refusal(method, threadId=UNKNOWN, **params)
    assert (refused.message, refused.code) == (message.format(UNKNOWN), -32600)
    assert (await client.refusal(method, threadId="x", **params)).message == "invalid thread id: x"
    assert (await client.refusal(method, threadId=None, **params)).code == -32600
    assert (await client.refusal(method, **params)).code == -32600


@pytest.mark.parametrize("loaded", [True, False])
async def test_a_name_is_told_to_all_after_its_answer(any_world: World, loaded: bool) -> None:
    client, other = await any_world.connect(), await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    if not loaded:
        await client.ask("thread/unsubscribe", threadId=thread_id)
        await client.note("thread/closed")
    seen = len(client.heard)
    assert await client.ask("thread/name/set", threadId=thread_id, name="  My name\n") == {}
    assert await client.note("thread/name/updated", seen) == {
        "threadId": thread_id,
        "threadName": "My name",
    }
    assert in_order(client.methods(seen), "=thread/name/set", "thread/name/updated")
    await other.note("thread/name/updated", threadName="My name")
    assert (await client.ask("thread/read", threadId=thread_id))["thread"]["name"] == "My name"


@pytest.mark.parametrize("name", ["", " \n\t"])
async def test_an_empty_name_is_refused(client: Client, name: str) -> None:
    thread_id = await client.start(cwd="/a")
    refused = await client.refusal("thread/name/set", threadId=thread_id, name=name)
    assert refused.message == "thread name must not be empty"


async def test_a_thread_without_turns_is_named_and_kept(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.ask("thread/name/set", threadId=thread_id, name="early")
    await client.turn(thread_id)
    assert (await client.ask("thread/list"))["data"][0]["name"] == "early"


async def test_git_facts_are_set_cleared_and_left(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)

    async def update(**git: str | None) -> Json | None:
        answer = await client.ask("thread/metadata/update", threadId=thread_id, gitInfo=git)
        found: Json | None = answer["thread"]["gitInfo"]
        return found

    assert await update(sha="abc", branch=" main ") == {
        "sha": "abc",
        "branch": "main",
        "originUrl": None,
    }
    assert (await update(branch="other") or {})["sha"] == "abc"
    assert (await update(sha=None) or {})["sha"] is None
    read = await client.ask("thread/read", threadId=thread_id)
    assert read["thread"]["gitInfo"]["branch"] == "other"


@pytest.mark.parametrize(
    ("git", "message"),
    [
        ({}, "gitInfo must include at least one field"),
        ({"branch": " "}, "gitInfo.branch must not be empty"),
        ({"originUrl": ""}, "gitInfo.originUrl must not be empty"),
        (None, "thread metadata update must include at least one field"),
        ({"sha": 5}, "Invalid request: thread/metadata/update: "),
        ("main", "Invalid request: thread/metadata/update: "),
    ],
)
async def test_an_update_that_says_nothing_is_refused(
    client: Client, git: Any, message: str
) -> None:
    thread_id = await client.start(cwd="/a")
    refused = await client.refusal("thread/metadata/update", threadId=thread_id, gitInfo=git)
    assert refused.message.startswith(message)
    assert refused.code == -32600


async def test_the_memory_mode_is_one_of_two(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    assert await client.ask("thread/memoryMode/set", threadId=thread_id, mode="disabled") == {}
    stored = await any_world.manager.read(thread_id)
    assert stored.memory_mode == "disabled"
    refused = await client.refusal("thread/memoryMode/set", threadId=thread_id, mode="maybe")
    assert refused.code == -32600


async def test_metadata_changes_while_a_turn_runs(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    pause = gate()
    any_world.says(Reply(pause, Say("late")))
    turn_id = await client.start_turn(thread_id)
    await reached(pause)
    for method, params in METADATA:
        await client.ask(method, threadId=thread_id, **params)
    pause.gate.set()
    await client.completed(turn_id)
    thread = (await client.ask("thread/read", threadId=thread_id))["thread"]
    assert (thread["name"], thread["gitInfo"]["branch"]) == ("n", "b")


async def test_an_archived_thread_takes_git_facts_and_no_name(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    await client.ask("thread/archive", threadId=thread_id)
    refused = await client.refusal("thread/name/set", threadId=thread_id, name="n")
    assert refused.message == f"thread is archived: {thread_id}"
    answer = await client.ask("thread/metadata/update", threadId=thread_id, gitInfo={"branch": "b"})
    assert answer["thread"]["gitInfo"]["branch"] == "b"


async def test_settings_hold_from_the_next_turn_on(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    answer = await client.ask(
        "thread/settings/update", threadId=thread_id, model="m2", effort="high", cwd="/b"
    )
    assert answer == {}
    told = (await client.note("thread/settings/updated"))["threadSettings"]
    assert (told["model"], told["effort"], told["cwd"]) == ("m2", "high", "/b")
    assert in_order(client.methods(), "=thread/settings/update", "thread/settings/updated")
    await client.turn(thread_id, model="m2")
    assert len(client.notes("thread/settings/updated")) == 1
    await client.turn(thread_id, model="m3")
    assert client.notes("thread/settings/updated")[-1]["threadSettings"]["model"] == "m3"
    await client.turn(thread_id)
    assert [request.model for request in world.model.requests] == ["m1", "m2", "m3", "m3"]
    assert world.model.requests[1].reasoning_effort == "high"


@pytest.mark.parametrize(
    "wrong",
    [{"model": 5}, {"effort": {}}, {"sandboxPolicy": {"type": "none"}}, {"sandboxPolicy": "x"}],
)
async def test_settings_of_a_wrong_kind_are_refused(client: Client, wrong: Json) -> None:
    thread_id = await client.start(cwd="/a")
    refused = await client.refusal("thread/settings/update", threadId=thread_id, **wrong)
    assert refused.code == -32600
    await client.turn(thread_id)


async def test_injected_items_reach_the_model_with_the_next_turn(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    assert await client.ask("thread/inject_items", threadId=thread_id, items=[HELLO]) == {}
    await client.turn(thread_id, "go on")
    said = [
        part["text"]
        for item in any_world.model.requests[-1].input
        if item["type"] == "message"
        for part in item["content"]
    ]
    assert said.index("psst") < said.index("go on")
    read = await client.ask("thread/read", threadId=thread_id, includeTurns=True)
    assert len(read["thread"]["turns"]) == 2


@pytest.mark.parametrize("items", [["text"], [5], [{}], [{"type": 5}], [None], "text", {}])
async def test_what_is_no_item_is_not_injected(client: Client, items: Any) -> None:
    thread_id = await client.start(cwd="/a")
    refused = await client.refusal("thread/inject_items", threadId=thread_id, items=items)
    assert refused.code == -32600


async def test_a_compaction_is_a_turn_of_its_own(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id, "long story")
    any_world.says(Reply(Say("the story in short")))
    seen = len(client.heard)
    assert await client.ask("thread/compact/start", threadId=thread_id) == {}
    await client.note("turn/completed", seen)
    items = [note["item"]["type"] for note in client.notes("item/completed", seen)]
    assert items == ["contextCompaction"]
    assert in_order(
        client.methods(seen), "turn/started", "item/started", "item/completed", "turn/completed"
    )


async def test_a_thread_is_reverted_and_all_are_told(any_world: World) -> None:
    client, other = await any_world.connect(), await any_world.connect()
    thread_id = await client.start(cwd="/a")
    turns = [(await client.turn(thread_id, text))["id"] for text in ("one", "two", "three")]
    await other.ask("thread/resume", threadId=thread_id)
    answer = await client.ask("thread/revert", threadId=thread_id, beforeTurnId=turns[1])
    assert answer["thread"]["id"] == thread_id
    await client.note("thread/reverted", threadId=thread_id)
    await other.note("thread/reverted", threadId=thread_id)
    assert in_order(client.methods(), "=thread/revert", "thread/reverted")
    read = await client.ask("thread/read", threadId=thread_id, includeTurns=True)
    assert [turn["id"] for turn in read["thread"]["turns"]] == turns[:1]
    await client.turn(thread_id, "other")
    refused = await client.refusal("thread/revert", threadId=thread_id, beforeTurnId=UNKNOWN)
    assert UNKNOWN in refused.message


async def test_a_thread_is_rolled_back_for_clients_of_old(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    turns = [(await client.turn(thread_id, text))["id"] for text in ("one", "two", "three")]
    answer = await client.ask("thread/rollback", threadId=thread_id, numTurns=2)
    assert [turn["id"] for turn in answer["thread"]["turns"]] == turns[:1]
    refused = await client.refusal("thread/rollback", threadId=thread_id, numTurns=0)
    assert refused.message == "numTurns must be >= 1"
    answer = await client.ask("thread/rollback", threadId=thread_id, numTurns=100)
    assert answer["thread"]["turns"] == []


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("thread/compact/start", {}),
        ("thread/revert", {"beforeTurnId": UNKNOWN}),
        ("thread/rollback", {"numTurns": 1}),
    ],
)
async def test_what_needs_an_idle_thread_is_refused_while_a_turn_runs(
    world: World, method: str, params: Json
) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    pause = gate()
    world.says(Reply(pause, Say("late")))
    turn_id = await client.start_turn(thread_id)
    await reached(pause)
    refused = await client.refusal(method, threadId=thread_id, **params)
    assert refused.message == f"turn {turn_id} is running"
    assert refused.code == -32600
    pause.gate.set()
    assert (await client.completed(turn_id))["status"] == "completed"
