"""Turns: their notifications, in order."""

from __future__ import annotations

from tests.appserver.world import World


async def test_a_turn_is_told_in_order(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a")
    seen = len(client.heard)
    turn = await client.turn(thread_id)
    assert turn["status"] == "completed"
    print(client.methods(seen))
    print(client.heard)
