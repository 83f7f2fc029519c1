"""Saying hello; starting, resuming and forking threads; leaving them."""

from __future__ import annotations

import pytest
from tests.appserver.clients import Client, in_order
from tests.appserver.world import UNKNOWN, World, gate, reached

from threadstore.testing.scripted_model import Reply, Say


async def test_the_answer_to_initialize_names_client_protocol_and_system(world: World) -> None:
    client = await world.connect(None)
    answer = await client.initialize("my-client")
    name, _, rest = answer["userAgent"].partition("/")
    assert name == "my-client"
    assert rest.startswith("0.169.0 ")
    assert rest.endswith("(my-client; 1.0)")
    assert answer["codexHome"] == "/home/a/.codex"


async def test_before_initialize_nothing_is_answered(world: World) -> None:
    client = await world.connect(None)
    for method in ("thread/list", "thread/start", "model/list"):
        refused = await client.refusal(method)
        assert (refused.message, refused.code) == ("Not initialized", -32600)


async def test_initialize_is_taken_once(client: Client) -> None:
    refused = await client.refusal("initialize", clientInfo={"name": "x", "version": "1"})
    assert (refused.message, refused.code) == ("Already initialized", -32600)


async def test_initialize_needs_a_client(world: World) -> None:
    client = await world.connect(None)
    refused = await client.refusal("initialize", clientInfo={})
    assert refused.code == -32600
    assert "`name`" in refused.message
    await client.initialize()


async def test_notifications_that_a_client_does_not_want_are_not_sent(world: World) -> None:
    client = await world.connect(optOutNotificationMethods=["thread/started", "turn/started"])
    await client.turn(await client.start(cwd="/a"))
    assert "thread/started" not in client.methods()
    assert "turn/started" not in client.methods()
    assert "turn/completed" in client.methods()


async def test_a_new_thread_is_told_after_its_answer(any_world: World) -> None:
    client = await any_world.connect()
    answer = await client.ask(
        "thread/start", cwd="/a", developerInstructions="Be brief.", model="m2"
    )
    started = await client.note("thread/started")
    assert in_order(client.methods(), "=thread/start", "thread/started")
    assert started["thread"]["id"] == answer["thread"]["id"]
    assert answer["thread"]["status"] == {"type": "idle"}
    assert answer["thread"]["turns"] == []
    assert (answer["model"], answer["modelProvider"], answer["cwd"]) == ("m2", "scripted", "/a")
    assert answer["approvalPolicy"] == "on-request"
    assert answer["sandbox"]["type"] == "readOnly"


async def test_a_thread_without_turns_is_in_no_list_and_can_be_read(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    assert (await client.ask("thread/list"))["data"] == []
    assert (await client.ask("thread/loaded/list"))["data"] == [thread_id]
    read = await client.ask("thread/read", threadId=thread_id)
    assert read["thread"]["status"] == {"type": "idle"}
    assert read["thread"]["model"] == "m1"


async def test_a_provider_that_nobody_described_is_refused(client: Client) -> None:
    for method in ("thread/start", "thread/resume", "thread/fork"):
        given = {} if method == "thread/start" else {"threadId": await client.start(cwd="/a")}
        refused = await client.refusal(method, modelProvider="nope", **given)
        assert refused.code == -32600
    assert "Model provider `nope` not found" in refused.message


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": 5},
        {"sandbox": "bogus"},
        {"ephemeral": "yes"},
        {"dynamicTools": {}},
        {"dynamicTools": [{"name": ""}]},
        {"dynamicTools": [{"description": "nameless"}]},
        {"historyMode": "new"},
        {"config": []},
    ],
)
async def test_a_start_with_parameters_of_a_wrong_kind_is_refused(
    client: Client, wrong: dict[str, object]
) -> None:
    refused = await client.refusal("thread/start", cwd="/a", **wrong)
    assert refused.code == -32600
    assert (await client.ask("thread/loaded/list"))["data"] == []


async def test_a_stored_thread_is_resumed_with_its_turns(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a", model="m7")
    await client.turn(thread_id, "remember me")
    await client.ask("thread/unsubscribe", threadId=thread_id)
    await client.note("thread/closed", threadId=thread_id)
    answer = await client.ask("thread/resume", threadId=thread_id)
    assert answer["model"] == "m7"
    [turn] = answer["thread"]["turns"]
    assert [item["type"] for item in turn["items"]] == ["userMessage", "agentMessage"]
    assert answer["initialTurnsPage"] is None
    again = await client.ask(
        "thread/resume", threadId=thread_id, excludeTurns=True, initialTurnsPage={"limit": 5}
    )
    assert again["thread"]["turns"] == []
    assert [turn["id"] for turn in again["initialTurnsPage"]["data"]] == [turn["id"]]
    await client.turn(thread_id, "again")


async def test_a_running_thread_is_resumed_with_its_open_turn(world: World) -> None:
    first, second = await world.connect(), await world.connect()
    thread_id = await first.start(cwd="/a")
    pause = gate()
    world.says(Reply(pause, Say("late")))
    turn_id = await first.start_turn(thread_id)
    await reached(pause)
    answer = await second.ask("thread/resume", threadId=thread_id)
    assert answer["thread"]["status"] == {"type": "active", "activeFlags": []}
    [turn] = answer["thread"]["turns"]
    assert (turn["id"], turn["status"]) == (turn_id, "inProgress")
    pause.gate.set()
    assert await second.completed(turn_id) == await first.completed(turn_id)


@pytest.mark.parametrize("method", ["thread/resume", "thread/fork"])
async def test_what_does_not_exist_is_not_opened(any_world: World, method: str) -> None:
    client = await any_world.connect()
    refused = await client.refusal(method, threadId=UNKNOWN)
    assert refused.message == f"no rollout found for thread id {UNKNOWN}"
    assert refused.code == -32600
    assert (await client.refusal(method, threadId="nope")).message == "invalid thread id: nope"
    assert (await client.refusal(method, threadId=5)).code == -32600
    assert (await client.refusal(method)).code == -32600


async def test_an_archived_thread_is_not_resumed(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    await client.ask("thread/archive", threadId=thread_id)
    refused = await client.refusal("thread/resume", threadId=thread_id)
    assert refused.message == f"thread is archived: {thread_id}"
    assert refused.data["hint"]


async def test_a_history_is_not_taken_from_clients(client: Client) -> None:
    thread_id = await client.start(cwd="/a")
    refused = await client.refusal("thread/resume", threadId=thread_id, history=[])
    assert refused.code == -32600


async def test_a_fork_has_the_turns_of_its_source_and_goes_its_own_way(any_world: World) -> None:
    client = await any_world.connect()
    source = await client.start(cwd="/a")
    first = await client.turn(source, "one")
    second = await client.turn(source, "two")
    answer = await client.ask("thread/fork", threadId=source)
    fork = answer["thread"]
    assert fork["forkedFromId"] == source
    assert [turn["id"] for turn in fork["turns"]] == [first["id"], second["id"]]
    await client.turn(fork["id"], "three")
    read = await client.ask("thread/read", threadId=source, includeTurns=True)
    assert len(read["thread"]["turns"]) == 2
    note = await client.note("thread/started", after=len(client.heard) - 30)
    assert in_order(client.methods(), "=thread/fork", "thread/started")
    assert note["thread"]["turns"] == []


async def test_a_fork_ends_where_the_client_says(world: World) -> None:
    client = await world.connect()
    source = await client.start(cwd="/a")
    turns = [(await client.turn(source, text))["id"] for text in ("one", "two", "three")]
    until = await client.ask("thread/fork", threadId=source, lastTurnId=turns[1])
    before = await client.ask("thread/fork", threadId=source, beforeTurnId=turns[1])
    assert [turn["id"] for turn in until["thread"]["turns"]] == turns[:2]
    assert [turn["id"] for turn in before["thread"]["turns"]] == turns[:1]
    hidden = await client.ask("thread/fork", threadId=source, excludeTurns=True)
    assert hidden["thread"]["turns"] == []
    assert (
        UNKNOWN
        in (await client.refusal("thread/fork", threadId=source, lastTurnId=UNKNOWN)).message
    )


async def test_a_thread_without_turns_is_not_forked(any_world: World) -> None:
    client = await any_world.connect()
    refused = await client.refusal("thread/fork", threadId=await client.start(cwd="/a"))
    assert refused.code == -32600


async def test_who_leaves_hears_no_more(world: World) -> None:
    first, second = await world.connect(), await world.connect()
    thread_id = await first.start(cwd="/a")
    await second.ask("thread/resume", threadId=thread_id)
    assert await second.ask("thread/unsubscribe", threadId=thread_id) == {"status": "unsubscribed"}
    assert await second.ask("thread/unsubscribe", threadId=thread_id) == {"status": "notSubscribed"}
    seen = len(second.heard)
    await first.turn(thread_id)
    await second.settle()
    assert not [word for word in second.methods(seen) if not word.startswith("=")]


async def test_with_the_last_client_a_thread_is_closed(any_world: World) -> None:
    client, other = await any_world.connect(), await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.turn(thread_id)
    await client.ask("thread/unsubscribe", threadId=thread_id)
    await other.note("thread/closed", threadId=thread_id)
    assert in_order(client.methods(), "=thread/unsubscribe", "thread/status/changed")
    status = (await other.note("thread/status/changed", threadId=thread_id))["status"]
    assert status == {"type": "notLoaded"}
    assert (await client.ask("thread/loaded/list"))["data"] == []
    assert await client.ask("thread/unsubscribe", threadId=thread_id) == {"status": "notLoaded"}
    refused = await client.refusal("turn/start", threadId=thread_id, input=[])
    assert refused.message == f"thread not found: {thread_id}"


async def test_what_was_never_used_goes_without_a_trace(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    await client.ask("thread/unsubscribe", threadId=thread_id)
    await client.note("thread/closed", threadId=thread_id)
    refused = await client.refusal("thread/read", threadId=thread_id)
    assert refused.message == f"thread not loaded: {thread_id}"


async def test_the_loaded_threads_come_in_pages(client: Client) -> None:
    ids = sorted([await client.start(cwd="/a") for _ in range(5)])
    first = await client.ask("thread/loaded/list", limit=2)
    assert (first["data"], first["nextCursor"]) == (ids[:2], ids[1])
    rest = await client.ask("thread/loaded/list", cursor=ids[1])
    assert (rest["data"], rest["nextCursor"]) == (ids[2:], None)
