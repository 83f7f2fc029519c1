"""Tools that clients offer and answer."""

from __future__ import annotations

from typing import Any

from tests.appserver.world import World

from threadstore.testing.scripted_model import Call, Reply, Say

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"title": {"type": "string"}}}
NAMESPACE = {
    "type": "namespace",
    "name": "codex_tui",
    "description": "Manage threads.",
    "tools": [
        {
            "type": "function",
            "name": "set_thread_title",
            "description": "Rename a thread.",
            "inputSchema": SCHEMA,
            "deferLoading": True,
        }
    ],
}


async def test_tools_in_a_namespace_are_called_by_both_names(any_world: World) -> None:
    client = await any_world.connect()
    thread_id = await client.start(cwd="/a", dynamicTools=[NAMESPACE])
    call = Call("set_thread_title", {"title": "T"}, namespace="codex_tui")
    any_world.says(Reply(call), Reply(Say("Renamed.")))
    turn_id = await client.start_turn(thread_id)
    question = await client.question("item/tool/call")
    asked = question["params"]
    assert (asked["namespace"], asked["tool"]) == ("codex_tui", "set_thread_title")
    assert asked["arguments"] == {"title": "T"}
    answer = {"contentItems": [{"type": "inputText", "text": "done"}], "success": True}
    await client.send({"id": question["id"], "result": answer})
    assert (await client.completed(turn_id))["status"] == "completed"


async def test_a_namespace_without_tools_is_refused(world: World) -> None:
    client = await world.connect()
    tools = [{"type": "namespace", "name": "empty"}]
    refused = await client.refusal("thread/start", cwd="/a", dynamicTools=tools)
    assert "has no list of tools" in refused.message
