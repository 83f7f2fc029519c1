"""One turn, as whoever started it sees it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from threadstore.history.turns import TurnError
from threadstore.metadata import TokenUsage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from threadstore.engine.events import Event

__all__ = ["Turn", "TurnOutcome", "TurnResult"]

Json = dict[str, Any]
TurnOutcome: TypeAlias = Literal["completed", "interrupted", "failed"]


class TurnResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a turn ended."""

    turn_id: str
    status: TurnOutcome
    last_message: str | None = None
    """The last thing the model said; half a message if it was interrupted."""
    usage: TokenUsage
    """What the turn's own requests used."""
    error: TurnError | None = None
    """Why it failed."""


class Turn:
    """A turn that was started. It runs by itself; nobody needs to listen.

    Iterating gives its events, from the first one on, once; awaiting it is waiting for its end.
    """

    def __init__(self, turn_id: str) -> None:
        self.id = turn_id
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._result: asyncio.Future[TurnResult] = asyncio.get_running_loop().create_future()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._result.done()

    async def result(self) -> TurnResult:
        """Wait for its end. A turn that fails raises nothing: see ``status`` and ``error``."""
        return await asyncio.shield(self._result)

    def __await__(self) -> Generator[Any, None, TurnResult]:
        return self.result().__await__()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._read()

    async def _read(self) -> AsyncIterator[Event]:
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)  # whoever comes later finds the end as well

    def tell(self, event: Event) -> None:
        """For the session: hand an event to whoever iterates."""
        self._events.put_nowait(event)

    def end(self, result: TurnResult) -> None:
        """For the session: the turn has ended, all its events are told."""
        self._events.put_nowait(None)
        if not self._result.done():
            self._result.set_result(result)
