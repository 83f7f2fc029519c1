"""Threads that are stored nowhere."""

from __future__ import annotations

import pytest
from tests.appserver.clients import Client
from tests.appserver.world import World


@pytest.fixture
async def thread_id(client: Client) -> str:
    """An ephemeral thread with a turn."""
    thread_id = await client.start(cwd="/a", ephemeral=True)
    await client.turn(thread_id)
    return thread_id


async def test_it_is_loaded_and_in_no_list(client: Client, thread_id: str) -> None:
    assert (await client.ask("thread/list"))["data"] == []
    assert (await client.ask("thread/loaded/list"))["data"] == [thread_id]
    thread = (await client.ask("thread/read", threadId=thread_id))["thread"]
    assert (thread["ephemeral"], thread["path"], thread["model"]) == (True, None, "m1")


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("thread/read", {"includeTurns": True}, "ephemeral threads do not support includeTurns"),
        ("thread/turns/list", {}, "ephemeral threads do not support thread/turns/list"),
        ("thread/name/set", {"name": "n"}, "ephemeral thread does not support metadata updates"),
        (
            "thread/metadata/update",
            {"gitInfo": {"branch": "b"}},
            "ephemeral thread does not support metadata updates",
        ),
        (
            "thread/memoryMode/set",
            {"mode": "disabled"},
            "ephemeral thread does not support metadata updates",
        ),
        ("thread/archive", {}, "no rollout found for thread id"),
        ("thread/fork", {}, "an ephemeral thread cannot be forked"),
    ],
)
async def test_what_it_cannot_do_is_said_and_it_lives_on(
    client: Client, thread_id: str, method: str, params: dict[str, object], message: str
) -> None:
    refused = await client.refusal(method, threadId=thread_id, **params)
    assert refused.message.startswith(message)
    assert refused.code == -32600
    await client.turn(thread_id, "still here")


async def test_it_is_deleted_for_good(client: Client, thread_id: str) -> None:
    assert await client.ask("thread/delete", threadId=thread_id) == {}
    await client.note("thread/deleted", threadId=thread_id)
    assert (await client.ask("thread/loaded/list"))["data"] == []


async def test_it_goes_with_its_last_client(world: World, client: Client, thread_id: str) -> None:
    other = await world.connect()
    await client.close()
    await other.note("thread/closed", threadId=thread_id)
    refused = await other.refusal("thread/read", threadId=thread_id)
    assert refused.message == f"thread not loaded: {thread_id}"
