"""Threads that are never stored: the same handle, backed by nothing durable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from threadstore.clock import SystemClock
from threadstore.errors import Conflict, InvalidRequest, ThreadNotFound
from threadstore.history.completed import OpenTurn, completed_form
from threadstore.history.items import History, RolloutItem
from threadstore.history.policy import canonical
from threadstore.live._handle import Handle
from threadstore.store import AppendReceipt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from threadstore.metadata import StoredThread, ThreadMetadataPatch

__all__ = ["EphemeralThread"]


class EphemeralThread(Handle):
    """A thread that exists in this object only; made by ``ThreadManager.create``.

    Takes part in everything that needs a history while it runs, and has no metadata to change.
    """

    rollout_path: None = None

    def __init__(self, stored: StoredThread, inherited: Sequence[RolloutItem] = ()) -> None:
        super().__init__(stored)
        self._turn = OpenTurn(thread_id=stored.id)
        self._items = self._kept(inherited)
        self._receipts: dict[str, AppendReceipt] = {}

    @property
    def position(self) -> int:
        """Number of items so far."""
        return len(self._items)

    async def read(self) -> StoredThread:
        """The metadata it was created with."""
        return self._stored

    async def load_history(self) -> History:
        """The items so far."""
        return History(items=tuple(self._items), damage=(), position=self.position)

    async def append_items(
        self,
        items: Sequence[RolloutItem],
        *,
        idempotency_key: str | None = None,
        expected_position: int | None = None,
        verbatim: bool = False,
    ) -> AppendReceipt:
        """Keep those of *items* that would persist, for as long as the thread lives."""
        if self._closed:
            raise ThreadNotFound.not_live(self.id)
        if idempotency_key is not None and idempotency_key in self._receipts:
            return self._receipts[idempotency_key]
        if expected_position is not None and expected_position != self.position:
            raise Conflict.moved_on(self.id, self.position, expected_position)
        self._items += items if verbatim else self._kept(items)
        receipt = AppendReceipt(position=self.position)
        if idempotency_key is not None:
            self._receipts[idempotency_key] = receipt
        return receipt

    async def update_metadata(self, patch: ThreadMetadataPatch) -> StoredThread:
        """Always :class:`InvalidRequest`."""
        del patch
        raise InvalidRequest(
            f"ephemeral thread does not support metadata updates: {self.id}",
            hint="create the thread without ephemeral=True if it shall have a name",
        )

    async def persist(self) -> None:
        """Nothing: there is nothing to persist to."""

    async def flush(self) -> None:
        """Nothing: there is nothing to flush to."""

    async def shutdown(self) -> None:
        """Forget the thread. Twice is once."""
        self._closed = True
        self._items = []

    async def discard(self) -> None:
        """The same as :meth:`shutdown`."""
        await self.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown()

    def _kept(self, items: Sequence[RolloutItem]) -> list[RolloutItem]:
        if self._mode == "paginated":
            items, self._turn = completed_form(items, self._turn, now=SystemClock().now())
        return canonical(items, self._mode)
