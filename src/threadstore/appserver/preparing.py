"""What searches need, built once beside everything else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from threadstore.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Preparation"]

PATIENCE: Final = 30.0
"""Seconds for which a search waits: the protocol has no word for an answer that is not complete."""


class Preparation:
    """One preparation, begun early or by the first who needs it."""

    def __init__(self, prepare: Callable[[], Awaitable[None]]) -> None:
        self._prepare = prepare
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    def begin(self, *, after: float) -> None:
        """Begin in so many seconds, or when somebody waits for it."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(after))

    async def ready(self) -> None:
        """Return when it is done, or :data:`PATIENCE` is at its end."""
        self._hurry.set()
        self.begin(after=0)
        assert self._task is not None
        await asyncio.wait((self._task,), timeout=PATIENCE)

    async def close(self) -> None:
        """Stop it, if it goes on. Twice is once."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, after: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), after)
        with contextlib.suppress(StoreUnavailable):  # who searches is told
            await self._prepare()
