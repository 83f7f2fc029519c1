"""The live writers of one store object, and the heartbeat that keeps their leases."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from threadstore.clock import Clock, rfc3339_ms
from threadstore.config import PostgresStoreConfig
from threadstore.errors import StoreUnavailable
from threadstore.history.header import SegmentBase, is_header_of, session_meta_item
from threadstore.history.items import RolloutItem, encode_lines
from threadstore.metadata import NewThread, StoredThread
from threadstore.store import AppendReceipt
from threadstore.stores.live_writers import LiveWriters
from threadstore.stores.postgres.database import Database
from threadstore.stores.postgres.statements import statement

__all__ = ["LiveWriter", "Writers", "holder_name"]

_RENEW: Final = statement("logs", "renew")
_RENEW_ONE: Final = statement("logs", "renew_one")
_FORGET: Final = statement("logs", "forget")
_RELEASE: Final = statement("logs", "release")
_STREAMS: Final = 2
"""Leases renewed at once where each needs a statement of its own."""


def holder_name() -> str:
    """Whose lease it is, for people and to recognise one's own."""
    return f"process {os.getpid()} on {socket.gethostname()} ({secrets.token_hex(4)})"


class LiveWriter:
    """A thread that this store writes: its lease, its log, its metadata until there is history."""

    def __init__(
        self,
        thread: StoredThread,
        turn: asyncio.Lock,
        *,
        epoch: int,
        position: int,
        next_ordinal: int | None,
        draft: NewThread | None = None,
        segment: SegmentBase | None = None,
    ) -> None:
        self.thread = thread
        self.turn = turn
        """Held by whoever works on the thread, so that calls happen in their order."""
        self.draft = draft
        """How the thread was created; ``None`` once it has history."""
        self.segment = segment
        """What a new paginated thread stands on, as its header says it."""
        self.epoch = epoch
        self.position = position
        self.next_ordinal = next_ordinal
        self.receipts: dict[str, AppendReceipt] = {}
        self.unsure = False
        """Whether an append failed of which nobody knows if it was committed."""
        self.renewed = -math.inf
        """When the last append that renewed the lease began (of the monotonic clock)."""

    def encode(self, items: Sequence[RolloutItem], clock: Clock) -> list[bytes]:
        """The lines of *items*, after the header where the thread still needs one."""
        stamp = rfc3339_ms(clock.now())
        block = encode_lines(items, stamp, self.next_ordinal)
        if block and self.draft is not None and not is_header_of(items[0], self.thread.id):
            block = encode_lines([self.header(), *items], stamp, self.next_ordinal)
        return block.split(b"\n")[:-1]

    def header(self) -> RolloutItem:
        """The first line of a thread that has no history."""
        assert self.draft is not None
        return session_meta_item(
            self.draft,
            thread_id=self.thread.id,
            created_at=self.thread.created_at,
            cli_version=self.thread.cli_version,
            model_provider=self.thread.model_provider,
            history_base=self.segment,
        )

    def ordinal_after(self, lines: int) -> int | None:
        """The ordinal that follows so many more lines; ``None``: a legacy thread."""
        return None if self.next_ordinal is None else self.next_ordinal + lines

    def advance(self, lines: int, next_ordinal: int | None) -> None:
        """Note that so many lines were appended, and which ordinal follows them."""
        self.draft = None
        self.position += lines
        self.next_ordinal = next_ordinal


class Writers(LiveWriters[LiveWriter]):
    """The live threads of a store object."""

    def __init__(self, database: Database, config: PostgresStoreConfig) -> None:
        super().__init__()
        self.holder = holder_name()
        self._database = database
        self._config = config
        self._heart: asyncio.Task[None] | None = None

    def drafts(self) -> list[StoredThread]:
        """The live threads without history."""
        return [writer.thread for writer in self._live.values() if writer.draft is not None]

    def add(self, writer: LiveWriter) -> None:
        """Take a writer in, and keep its lease from now on."""
        self._live[writer.thread.id] = writer
        if self._heart is None:
            self._heart = asyncio.get_running_loop().create_task(self._beat())

    async def release(self, writer: LiveWriter) -> None:
        """Forget the writer and give its lease back; one that cannot be given back runs out."""
        if self._live.get(writer.thread.id) is not writer:
            return
        del self._live[writer.thread.id]
        with suppress(StoreUnavailable):
            await self._give_back(writer)

    async def close(self) -> None:
        """Give everything back."""
        heart, self._heart = self._heart, None
        if heart is not None:
            heart.cancel()
            with suppress(asyncio.CancelledError):
                await heart
        writers = self.all()
        self._live.clear()
        with suppress(StoreUnavailable):  # without a server the others would wait in vain as well
            for writer in writers:
                await self._give_back(writer)

    async def _give_back(self, writer: LiveWriter) -> None:
        lease = self._lease_of(writer)
        if writer.draft is not None and await self._database.change(_FORGET, lease):
            return
        await self._database.change(_RELEASE, lease)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._config.heartbeat)
            with suppress(StoreUnavailable):  # appends check the lease for themselves
                await self._renew(self._idle())

    def _idle(self) -> list[LiveWriter]:
        """The writers whose leases no append has just renewed."""
        since = time.monotonic() - self._config.heartbeat / 2
        return [writer for writer in self.all() if writer.renewed < since]

    async def _renew_each(self, writers: list[LiveWriter]) -> None:
        with suppress(StoreUnavailable):
            for writer in writers:
                await self._database.change(_RENEW_ONE, self._lease_of(writer))

    async def _renew(self, writers: list[LiveWriter]) -> None:
        if not self._config.batch_threads:
            parts = (writers[start::_STREAMS] for start in range(_STREAMS))
            await asyncio.gather(*map(self._renew_each, parts))
        elif writers:
            values = {
                "tenant": self._database.tenant,
                "expiry": self._config.lease_expiry,
                "threads": [writer.thread.id for writer in writers],
                "epochs": [writer.epoch for writer in writers],
            }
            await self._database.change(_RENEW, values)

    def _lease_of(self, writer: LiveWriter) -> dict[str, object]:
        return {
            "tenant": self._database.tenant,
            "expiry": self._config.lease_expiry,
            "thread": writer.thread.id,
            "epoch": writer.epoch,
        }
