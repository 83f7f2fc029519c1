"""Calls of tools, and an owner whom they can ask."""

from __future__ import annotations

from typing import Any

from threadstore.engine.tools import Toolbox, ToolCall, ToolOutput, as_tool

Json = dict[str, Any]


class Owner:
    """A session's owner who answers what is asked, and remembers it."""

    asks_approval: bool = True

    def __init__(self) -> None:
        self.questions: list[Json] = []
        self.calls: list[ToolCall] = []

    async def ask_user(self, call: ToolCall, questions: list[Json]) -> Json:
        self.calls.append(call)
        self.questions.extend(questions)
        return {"answers": {each["id"]: {"answers": ["yes"]} for each in questions}}

    async def ask_client(self, call: ToolCall) -> ToolOutput:
        self.calls.append(call)
        return ToolOutput(output=f"{call.name} was told {call.arguments}")


def call_of(name: str, arguments: str = "", namespace: str | None = None) -> ToolCall:
    return ToolCall(
        call_id=f"call_{name}",
        name=name,
        namespace=namespace,
        arguments=arguments,
        thread_id="thread",
        turn_id="turn",
    )


async def output_of(thing: Any, arguments: str = "", limit: int = 1024) -> ToolOutput:
    found = as_tool(thing)
    box = Toolbox([found], output_limit=limit)
    return await box.run(call_of(found.name, arguments, found.namespace), Owner())
