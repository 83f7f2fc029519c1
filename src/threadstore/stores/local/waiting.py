"""Blocking work on the way through an event loop, where there is one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import asyncio

__all__ = ["in_worker", "others_first", "running_loop"]

T = TypeVar("T")


async def in_worker(work: Callable[[], T]) -> T:
    """Run blocking *work* in a thread; when cancelled, wait for its end before letting go.

    Work that was started is never left running behind the back of whoever holds the locks, however
    often the caller is cancelled. Without an event loop there is nobody to hold up, and the work is
    done at once.
    """
    loop = running_loop()
    if loop is None:
        return work()
    import asyncio

    # A future, no task: a loop that ends cancels every task, but this one has to be waited for.
    future = loop.run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((future,))
        raise


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that this is called in; ``None`` outside of any."""
    if "asyncio" not in sys.modules:
        return None
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def others_first() -> None:
    """Let everybody else on the event loop have a turn."""
    import asyncio

    await asyncio.sleep(0)
