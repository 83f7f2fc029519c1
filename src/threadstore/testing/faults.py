"""A store that fails or pauses where it is told to: faults without mocks or sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from threadstore.errors import StoreUnavailable, ThreadStoreError
from threadstore.history.items import RolloutItem
from threadstore.metadata import MetadataOrigin, StoredThread, ThreadMetadataPatch
from threadstore.store import AppendReceipt, ThreadStore
from threadstore.testing.wrapper import ThreadStoreWrapper

__all__ = ["FaultyStore", "Pause"]

T = TypeVar("T")


class Pause:
    """One call of a verb that waits, before or after it has done its work."""

    def __init__(self, *, after: bool) -> None:
        self.after = after
        self.reached = asyncio.Event()
        """Set when the call waits."""
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let the call go on."""
        self._released.set()

    async def pass_through(self) -> None:
        """Wait until released."""
        self.reached.set()
        await self._released.wait()


class FaultyStore(ThreadStoreWrapper):
    """A real store with faults on demand, and a record of what was asked of it.

    ``calls`` are the verbs in order, ``writes`` the metadata patches with their origin. Appends
    without items change nothing in any store; they are let through and not recorded.
    """

    def __init__(self, inner: ThreadStore) -> None:
        super().__init__(inner)
        self.calls: list[str] = []
        self.writes: list[tuple[MetadataOrigin, ThreadMetadataPatch]] = []
        self._failures: dict[str, tuple[ThreadStoreError, bool]] = {}
        self._pauses: dict[str, Pause] = {}

    def fail(
        self, verb: str, error: ThreadStoreError | None = None, *, after: bool = False
    ) -> None:
        """Fail every call of *verb* until :meth:`heal`, with *after* although its work was done."""
        self._failures[verb] = (error or StoreUnavailable(f"{verb} failed"), after)

    def heal(self, verb: str) -> None:
        """End the failures of *verb*."""
        del self._failures[verb]

    def pause(self, verb: str, *, after: bool = False) -> Pause:
        """Make the next call of *verb* wait until it is released."""
        self._pauses[verb] = Pause(after=after)
        return self._pauses[verb]

    async def run(self, verb: str, call: Coroutine[Any, Any, T]) -> T:
        self.calls.append(verb)
        pause = self._pauses.pop(verb, None)
        error, late = self._failures.get(verb, (None, False))
        try:
            if pause is not None and not pause.after:
                await pause.pass_through()
            if error is not None and not late:
                raise error
            result = await call
        finally:
            call.close()
        if pause is not None and pause.after:
            await pause.pass_through()
        if error is not None:
            raise error
        return result

    async def append_items(
        self,
        thread_id: str,
        items: Sequence[RolloutItem],
        *,
        idempotency_key: str | None = None,
        expected_position: int | None = None,
    ) -> AppendReceipt:
        append = super().append_items if items else self.inner.append_items
        return await append(
            thread_id, items, idempotency_key=idempotency_key, expected_position=expected_position
        )

    async def update_thread_metadata(
        self,
        thread_id: str,
        patch: ThreadMetadataPatch,
        *,
        origin: MetadataOrigin,
        include_archived: bool = False,
    ) -> StoredThread:
        stored = await super().update_thread_metadata(
            thread_id, patch, origin=origin, include_archived=include_archived
        )
        self.writes.append((origin, patch))
        return stored
