"""Server processes that share a store: following, taking over, and being killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.appserver.processes import ServerProcess, server_process

from threadstore.testing.model_server import Answer, Reply, Say, ScriptedModelServer, Silence
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer

Json = dict[str, Any]


def answer(body: Json) -> Answer:
    """The model: hangs when it is told to."""
    said = [item for item in body["input"] if item.get("role") == "user"][-1]
    return Silence() if said["content"][0]["text"] == "hang" else Reply(Say("fine"))


@pytest.fixture
def model() -> Iterator[str]:
    """The URL of the model server."""
    with ScriptedModelServer(answer) as server:
        yield server.base_url


@pytest.fixture(params=["local", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of each store that processes can share."""
    if request.param == "local":
        tmp_path.joinpath("home").mkdir()
        yield f"local:{tmp_path / 'home'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    harness = PostgresHarness(server)
    yield f"{harness.config.dsn}&lease_expiry=1&heartbeat=0.3"
    harness.close()


def kill(server: ServerProcess) -> None:
    """As a crash does it."""
    server.signal(signal.SIGKILL)


async def test_a_second_process_follows_and_takes_over(
    tmp_path: Path, store: str, model: str
) -> None:
    async with (
        server_process(store, model, cwd=tmp_path) as first,
        server_process(store, model, cwd=tmp_path) as second,
    ):
        writer, follower = await first.connect(), await second.connect()
        thread_id = await writer.start()
        await writer.turn(thread_id, "one")
        await follower.ask("thread/resume", threadId=thread_id)
        turn = await writer.turn(thread_id, "two")
        assert (await follower.completed(turn["id"]))["status"] == "completed"
        given = [{"type": "text", "text": "mine"}]
        refused = await follower.refusal("turn/start", threadId=thread_id, input=given)
        assert str(first.process.pid) in refused.message
        first.signal(signal.SIGTERM)
        assert await first.ended() == 0
        assert (await follower.turn(thread_id, "three"))["status"] == "completed"
        read = await follower.ask("thread/read", threadId=thread_id, includeTurns=True)
        assert [turn["status"] for turn in read["thread"]["turns"]] == ["completed"] * 3


async def test_the_turn_of_a_killed_process_ends_for_those_who_follow(
    tmp_path: Path, store: str, model: str
) -> None:
    async with (
        server_process(store, model, cwd=tmp_path) as first,
        server_process(store, model, cwd=tmp_path) as second,
    ):
        writer, follower = await first.connect(), await second.connect()
        thread_id = await writer.start()
        await writer.turn(thread_id, "one")
        await follower.ask("thread/resume", threadId=thread_id)
        turn_id = await writer.start_turn(thread_id, "hang")
        await follower.note("item/completed", turnId=turn_id)
        kill(first)
        assert (await follower.completed(turn_id))["status"] == "interrupted"
        assert (await follower.turn(thread_id, "three"))["status"] == "completed"
        read = await follower.ask("thread/read", threadId=thread_id, includeTurns=True)
        statuses = [turn["status"] for turn in read["thread"]["turns"]]
        assert statuses == ["completed", "interrupted", "completed"]


async def test_a_thread_of_a_killed_process_is_resumed_by_the_next(
    tmp_path: Path, store: str, model: str
) -> None:
    async with server_process(store, model, cwd=tmp_path) as first:
        writer = await first.connect()
        thread_id = await writer.start()
        await writer.turn(thread_id, "one")
        turn_id = await writer.start_turn(thread_id, "hang")
        await writer.note("item/completed", turnId=turn_id)
        kill(first)
        await first.ended()
    async with server_process(store, model, cwd=tmp_path) as second:
        client = await second.connect()
        answer = await client.ask("thread/resume", threadId=thread_id)
        if answer["thread"]["status"]["type"] == "active":  # the lease has to run out
            assert (await client.completed(turn_id))["status"] == "interrupted"
        else:
            turns = answer["thread"]["turns"]
            assert [turn["status"] for turn in turns] == ["completed", "interrupted"]
        assert (await client.turn(thread_id, "two"))["status"] == "completed"
