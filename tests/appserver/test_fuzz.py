"""Whatever a client sends, it gets an answer that is no internal error, and the server lives on."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.appserver.clients import Client
from tests.appserver.generated import ANYTHING, values
from tests.appserver.schema import RELEASES, schema_of
from tests.appserver.test_params import Described
from tests.appserver.world import UNKNOWN, World, serving

from threadstore.stores.memory import MemoryThreadStore

Json = dict[str, Any]

DEEP = bool(os.environ.get("DEEP"))
METHODS = sorted(set(Described().params) - {"initialize"})
PLACES = ("used", "unused", "ephemeral", "archived", "turn", "unknown")
"""What an id may stand for; the test puts the real ones in their place."""


def params(method: str) -> st.SearchStrategy[Any]:
    """Parameters of a method, most of them as some release describes them."""
    ids = st.sampled_from(PLACES)
    known = [
        values(release, schema, ids)
        for release in RELEASES
        if (schema := schema_of(release, "params", method)) is not None
    ]
    return st.one_of(*known, *known, ANYTHING)


REQUESTS = st.one_of(
    [st.tuples(st.just(method), params(method)) for method in METHODS]
    + [st.tuples(st.just("turn/start"), params("turn/start"))]
)


async def threads(client: Client) -> dict[str, str]:
    """A thread in every state, by the words of :data:`PLACES`."""
    used, archived = await client.start(cwd="/a"), await client.start(cwd="/a")
    turn = await client.turn(used)
    await client.turn(archived)
    await client.ask("thread/archive", threadId=archived)
    return {
        "used": used,
        "unused": await client.start(cwd="/a"),
        "ephemeral": await client.start(cwd="/a", ephemeral=True),
        "archived": archived,
        "turn": turn["id"],
        "unknown": UNKNOWN,
    }


def placed(value: Any, places: dict[str, str]) -> Any:
    """*value* with real ids in it."""
    if isinstance(value, dict):
        return {key: placed(inner, places) for key, inner in value.items()}
    if isinstance(value, list):
        return [placed(inner, places) for inner in value]
    return places.get(value, value) if isinstance(value, str) else value


async def send_all(requests: list[tuple[str, Any]]) -> None:
    """Send them all at once, and see what becomes of them."""
    async with serving(MemoryThreadStore()) as world:
        client = await world.connect()
        client.releases = ("0.169.0",)  # what only the newer release takes, only it tells
        places = await threads(client)
        answers = []
        for method, given_params in requests:
            request = await client.begin(method, placed(given_params, places))
            answers.append((method, given_params, request))
        for method, given_params, request in answers:
            answer = await client.first(
                lambda m, wanted=request: m.get("id") == wanted and "method" not in m  # type: ignore[misc]
            )
            code = answer.get("error", {}).get("code")
            assert code in (None, -32600, -32601, -32602), (method, given_params, answer)
        await still_lives(world)


async def still_lives(world: World) -> None:
    """Whoever comes next is served."""
    client = await world.connect()
    turn = await client.turn(await client.start(cwd="/a"))
    assert turn["status"] == "completed"


@settings(
    max_examples=500 if DEEP else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(REQUESTS, min_size=1, max_size=12))
def test_every_request_is_answered_and_none_breaks_the_server(
    requests: list[tuple[str, Any]],
) -> None:
    asyncio.run(send_all(requests))
