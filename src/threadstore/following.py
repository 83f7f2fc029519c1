"""Following a history live, for every store.

Correctness always comes from reading again what stands behind the last position. A signal only says
that a look is worth while now; it may get lost, or come for nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from threadstore.ids import parse_thread_id

if TYPE_CHECKING:
    import asyncio  # else where it is needed: a list of threads needs no event loop

    from threadstore.history.lines import Entry

__all__ = ["ReadBehind", "Signals", "closing", "follow"]


class ReadBehind(Protocol):
    """The entries of a thread behind a position, as they are now: ``iter_history`` of a store, or
    what yields the same for less."""

    def __call__(self, thread_id: str, *, after: int) -> AsyncIterator[Entry]: ...


class Signals:
    """Wakes the followers of one store object."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[asyncio.Event]] = {}

    def ring(self, thread_id: str) -> None:
        """There may be news of a thread."""
        if self._listeners:
            for event in self._listeners.get(thread_id, ()):
                event.set()

    def ring_all(self) -> None:
        """There may be news of any thread."""
        for events in self._listeners.values():
            for event in events:
                event.set()

    @asynccontextmanager
    async def listening(self, thread_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever there may be news of a thread."""
        import asyncio

        event = asyncio.Event()
        events = self._listeners.setdefault(thread_id, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events and self._listeners.get(thread_id) is events:
                del self._listeners[thread_id]


async def follow(
    signals: Signals,
    thread_id: str,
    read: ReadBehind,
    after: int,
    *,
    interval: float | None = None,
) -> AsyncGenerator[Entry, None]:
    """What *read* yields behind *after*, and then what is new, for as long as it is asked for.

    Reads again at every signal, and every *interval* seconds without one (``None``: never). An
    error of *read* ends it. Keeps one entry in memory.
    """
    import asyncio

    thread_id = parse_thread_id(thread_id)
    async with signals.listening(thread_id) as news:
        while True:
            news.clear()  # before reading: what comes meanwhile is looked at again
            async with closing(read(thread_id, after=after)) as entries:
                async for entry in entries:
                    after = entry.position or after
                    yield entry
            with suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await news.wait()


@asynccontextmanager
async def closing(entries: AsyncIterator[Entry]) -> AsyncIterator[AsyncIterator[Entry]]:
    """Close a stream at the end, whoever stops it; one that is no generator has nothing to close.

    Without that an inner stream ends when the garbage collector finds it.
    """
    try:
        yield entries
    finally:
        if isinstance(entries, AsyncGenerator):
            await entries.aclose()
