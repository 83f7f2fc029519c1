"""A model that answers what a test says: no network, no clock, the same ids every time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from threadstore.engine.model import ModelEvent, ModelRequest, RateLimits
from threadstore.engine.responses import ResponseReader
from threadstore.testing.replies import (
    Bytes,
    Call,
    Failed,
    Incomplete,
    Pause,
    Raw,
    Reply,
    Say,
    Script,
    ScriptExhausted,
    Think,
    rate_limits,
)

__all__ = [
    "Call",
    "Failed",
    "Incomplete",
    "Pause",
    "Raw",
    "Reply",
    "Say",
    "ScriptExhausted",
    "ScriptedModel",
    "Think",
    "rate_limits",
]


class ScriptedModel:
    """Implements :class:`~threadstore.engine.model.Model`.

    *script* is one :class:`Reply` per request, in order, or a function from request to reply. A
    request too many raises :class:`ScriptExhausted`.
    """

    def __init__(self, script: Sequence[Reply] | Callable[[ModelRequest], Reply]) -> None:
        self.requests: list[ModelRequest] = []
        """Every request so far, in order."""
        self._script = Script(script)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer *request* as the script says."""
        self.requests.append(request)
        number, reply = self._script.next(request)
        assert isinstance(reply, Reply), f"a script is made of Reply, not {reply!r}"
        if reply.rate_limits is not None:
            yield RateLimits(reply.rate_limits)
        reader = ResponseReader()
        steps = reply.events(number, request.model, len(request.input))
        for step in steps:
            assert not isinstance(step, Bytes), "only a server can say bytes"
            if isinstance(step, Pause):
                await _wait(step)
            elif (event := reader.read(step)) is not None:
                yield event
        if reply.error is not None:
            raise reply.error
        if reply.hang:
            await asyncio.Event().wait()


async def _wait(pause: Pause) -> None:
    if pause.reached is not None:
        pause.reached.set()
    assert isinstance(pause.gate, asyncio.Event), "in one process a gate is an asyncio.Event"
    await pause.gate.wait()
