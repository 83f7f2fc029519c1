"""What a session asks its owner while a tool waits: answers of the user, calls of their tools."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from threadstore.engine.events import RequestUserInput, ToolCallRequest
from threadstore.engine.tool_outputs import failure
from threadstore.engine.tool_schema import BadArguments, any_arguments
from threadstore.engine.tools import ToolCall, ToolOutput
from threadstore.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from threadstore.engine.events import Event

__all__ = ["Questions"]

Json = dict[str, Any]
Request = RequestUserInput | ToolCallRequest


class Questions:
    """The open questions, by the id of the call that asks. Tools reach it as their context."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self.asks_approval = True
        self._tell = tell
        self._open: dict[str, tuple[Request, asyncio.Future[Any]]] = {}

    @property
    def open(self) -> tuple[Request, ...]:
        """What waits for an answer, oldest first."""
        return tuple(request for request, _ in self._open.values())

    async def ask_user(self, call: ToolCall, questions: list[Json]) -> Json | ToolOutput:
        """Put *questions* to the user; returns their answers, or why there are none."""
        event = RequestUserInput(turn_id=call.turn_id, call_id=call.call_id, questions=questions)
        answers: Json | ToolOutput = await self._ask(event)
        return answers

    async def ask_client(self, call: ToolCall) -> ToolOutput:
        """Have the owner's program run *call*."""
        try:
            arguments = any_arguments(call.arguments)
        except BadArguments as error:
            return failure(f"the arguments do not fit {call.name}: {error}")
        event = ToolCallRequest(
            turn_id=call.turn_id,
            call_id=call.call_id,
            tool=call.name,
            namespace=call.namespace,
            arguments=arguments,
        )
        output: ToolOutput = await self._ask(event)
        return output

    def answer(self, call_id: str, answer: object) -> None:
        """Settle the question of this call; see ``Session.answer``."""
        request, waiting = self._open.get(call_id, (None, None))
        if request is None or waiting is None or waiting.done():
            raise InvalidRequest(f"nothing waits for an answer to call {call_id}")
        if isinstance(request, RequestUserInput):
            if not isinstance(answer, dict | ToolOutput):
                raise InvalidRequest("answers must be an object", hint='{"answers": {…}}')
        elif isinstance(answer, str):
            answer = ToolOutput(output=answer)
        elif not isinstance(answer, ToolOutput):
            raise InvalidRequest("the answer to a tool call must be text or a ToolOutput")
        waiting.set_result(answer)

    async def _ask(self, event: Request) -> Any:
        if event.call_id in self._open:  # an answer could not say which it means
            raise InvalidRequest(f"another call has the id {event.call_id}; use a new one")
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[event.call_id] = event, waiting
        self._tell(event)
        try:
            return await waiting
        finally:
            del self._open[event.call_id]
