"""A store that remembers what it held between any two appends, and what a session then knew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from threadstore.engine import Session
from threadstore.engine.model import ModelRequest
from threadstore.history.items import RolloutItem
from threadstore.metadata import ThreadUsage
from threadstore.store import AppendReceipt
from threadstore.stores.memory import MemoryThreadStore, _Log
from threadstore.testing.wrapper import ThreadStoreWrapper

Json = dict[str, Any]


class Moment:
    """The state between two appends, as a restart would find it."""

    def __init__(
        self, logs: dict[str, _Log], session: Session, ended: dict[str, str], *, idle: bool
    ) -> None:
        self._logs = logs
        self.request: ModelRequest = session._state.request()
        """What the session would send if it came to a request now."""
        self.idle = idle
        """Whether all is told that was used: no turn runs."""
        tokens = session._state.tokens
        self.counters = (tokens.total, tokens.last, tokens.rate_limits, tokens.window)
        self.full = session._state.is_full()
        self.usage: ThreadUsage = session.usage
        self.ended = dict(ended)
        """How the turns ended of which that is known."""

    def store(self, *, lines: int | None = None) -> MemoryThreadStore:
        """A store that holds the same; of the newest thread only so many *lines*."""
        store = MemoryThreadStore()
        store._logs = {thread_id: _copy(log) for thread_id, log in self._logs.items()}
        if lines is not None:
            del next(reversed(store._logs.values())).lines[lines:]
        return store

    @property
    def lines(self) -> int:
        """How many lines the newest thread has."""
        return len(next(reversed(self._logs.values())).lines)


class MomentStore(ThreadStoreWrapper):
    """Takes a :class:`Moment` before each append of the session that it was told of."""

    def __init__(self) -> None:
        self.memory = MemoryThreadStore()
        super().__init__(self.memory)
        self.session: Session | None = None
        self.moments: list[Moment] = []
        self.ended: dict[str, str] = {}

    async def append_items(
        self,
        thread_id: str,
        items: Sequence[RolloutItem],
        *,
        idempotency_key: str | None = None,
        expected_position: int | None = None,
    ) -> AppendReceipt:
        if items:
            self.take(idle=items[0].kind == "task_started")
        receipt = await super().append_items(
            thread_id, items, idempotency_key=idempotency_key, expected_position=expected_position
        )
        for item in items:
            if item.kind in ("task_complete", "turn_aborted"):
                failed = "failed" if "error" in item.payload else "completed"
                status = "interrupted" if item.kind == "turn_aborted" else failed
                self.ended[item.payload["turn_id"]] = status
        return receipt

    def take(self, *, idle: bool = True) -> None:
        """Remember how it is now."""
        logs = {thread_id: _copy(log) for thread_id, log in self.memory._logs.items()}
        if self.session is not None and self.session.id in logs:
            self.moments.append(Moment(logs, self.session, self.ended, idle=idle))


def _copy(log: _Log) -> _Log:
    copy = _Log(log.thread, log.base)
    copy.lines = list(log.lines)
    copy.next_ordinal = log.next_ordinal
    return copy


def check_pairs(items: Sequence[Json]) -> None:
    """Every call is followed by its output, and there is no other output."""
    open_calls: set[str] = set()
    for item in items:
        kind = item["type"]
        if kind.endswith("_call_output"):
            open_calls.remove(item["call_id"])
        elif kind in ("custom_tool_call", "function_call"):
            assert item["call_id"] not in open_calls
            open_calls.add(item["call_id"])
    assert not open_calls
