"""Reviews are turns."""

from __future__ import annotations

from typing import Any

import pytest
from tests.appserver.world import World


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ({"type": "uncommittedChanges"}, "all uncommitted changes"),
        ({"type": "baseBranch", "branch": "main"}, "the current branch and main"),
        ({"type": "commit", "sha": "abc123"}, "commit abc123"),
        ({"type": "custom", "instructions": "Look at the tests."}, "Look at the tests."),
    ],
)
async def test_a_review_is_a_turn(world: World, target: dict[str, Any], asked: str) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    answer = await client.ask("review/start", threadId=thread_id, target=target)
    assert answer["reviewThreadId"] == thread_id
    assert (await client.completed(answer["turn"]["id"]))["status"] == "completed"
    assert asked in str(world.model.requests[-1].input)


async def test_a_review_of_nothing_is_refused(world: World) -> None:
    client = await world.connect()
    thread_id = await client.start(cwd="/a")
    refused = await client.refusal("review/start", threadId=thread_id, target={"type": "moon"})
    assert refused.code == -32600
