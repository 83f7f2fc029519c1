"""Knows what was said about a thread, and looks from outside whether it is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from tests.engine.agent_process import WINDOW, unpaired

from threadstore import ThreadQuery, open_store
from threadstore.engine.loading import load_context
from threadstore.history.context import ContextFold, request_input
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.history.turns import build_turns
from threadstore.history.usage import total_usage
from threadstore.metadata import HistoryMode, StoredThread, ThreadUsage, TokenUsage

Json = dict[str, Any]

_COUNTERS = ("input_tokens", "output_tokens", "reasoning_output_tokens", "total_tokens")


class Witness:
    """Knows what was said about one thread, and looks whether it is true."""

    def __init__(self, url: str, mode: HistoryMode) -> None:
        self.url = url
        self.mode = mode
        self.thread: str | None = None
        self.told: Counter[bytes] = Counter()
        self.redos = 0
        self.kills = 0
        self.sure = TokenUsage()  # what was used by the responses of which an event told
        self.unsure: dict[int, TokenUsage] = {}  # the other responses
        self.used = TokenUsage()
        self.ran: Counter[str] = Counter()
        self.names: list[str | None] = [None]

    async def check(self, said: Sequence[Json]) -> None:
        """Look at the thread from outside after a round in which *said* was said."""
        problems = [line["problem"] for line in said if "problem" in line]
        assert not problems, "\n".join(problems)
        told = [line["event"] for line in said if "event" in line]
        self.told.update(map(_key, told))
        self.redos += sum("redo" in line for line in said)
        self.ran.update(line["ran"] for line in said if "ran" in line)
        assert not [call for call, count in self.ran.items() if count > 1], "a tool ran twice"
        self.thread = next((line["thread"] for line in said if "thread" in line), self.thread)
        if self.thread is None or not self.told:
            self.thread = None if not self.told else self.thread
            return
        async with open_store(self.url) as store:
            stored = await store.read_thread(self.thread)
            history = await store.load_history(self.thread)
            listed = await store.list_threads(ThreadQuery(limit=1000))
            context = (await load_context(store, self.thread)).fold
        assert self.thread in {thread.id for thread in listed.items}
        self._check_damage(history.damage)
        self._check_lines(history.items)
        self._check_turns(history.items, told)
        self._check_totals(history.items)
        self._check_context(history.items, context)
        self._check_usage(stored, said, told)
        self._check_name(stored, said)

    def _check_damage(self, damage: Sequence[DamagedLine]) -> None:
        """A kill may tear the line that was being written, which nobody was told of."""
        assert len(damage) <= self.kills

    def _check_lines(self, items: Sequence[RolloutItem]) -> None:
        """What was told is there, and nothing twice but what was brought back."""
        there = Counter(_key(item.payload) for item in items if item.type == "event_msg")
        assert not self.told - there, f"lost: {self.told - there}"
        once = [item.payload for item in items if _is_unique(item)]
        found = Counter(map(_key, once))
        twice = {line for line, count in found.items() if count > 1 + self.redos}
        assert not twice
        calls = Counter((item.kind, item.payload["call_id"]) for item in items if _has_call(item))
        assert max(calls.values(), default=0) <= 1 + self.redos

    def _check_turns(self, items: Sequence[RolloutItem], told: Sequence[Json]) -> None:
        """A turn has ended as its end says, or it is interrupted."""
        ends = {
            item.payload["turn_id"]: _status(item.payload)
            for item in items
            if item.kind in ("task_complete", "turn_aborted")
        }
        turns = build_turns(items)
        for turn in turns:
            assert turn.status == ends.get(turn.id, "interrupted"), turn.id
            if any("fail" in text for text in map(_user_words, turn.items)):
                assert turn.status != "completed"
        for event in told:
            if event["type"] in ("task_complete", "turn_aborted"):
                assert ends[event["turn_id"]] == _status(event)
        reverted = any(item.kind == "thread_rolled_back" for item in items)
        started = [item.payload["turn_id"] for item in items if item.kind == "task_started"]
        assert reverted or [turn.id for turn in turns] == started

    def _check_totals(self, items: Sequence[RolloutItem]) -> None:
        """What the events report never goes back but when the context overflows."""
        before = TokenUsage()
        for item in items:
            total = total_usage(item.payload) if item.kind == "token_count" else None
            if total is None:
                continue
            overflow = TokenUsage(total_tokens=int(WINDOW * 0.95))
            assert total == overflow or not _less(total, before), (before, total)
            before = total

    def _check_context(self, items: Sequence[RolloutItem], context: ContextFold) -> None:
        """Whoever goes on sends the same as one who has read it all, and no call stands alone."""
        whole = ContextFold()
        for item in items:
            whole.feed(item)
        request = request_input(context.items)
        assert request == request_input(whole.items)
        assert unpaired(request) is None

    def _check_usage(
        self, stored: StoredThread, said: Sequence[Json], told: Sequence[Json]
    ) -> None:
        """What was acknowledged is counted, and nothing that nobody served."""
        self.unsure |= {
            line["served"]: msgspec.convert(line["usage"], TokenUsage)
            for line in said
            if "served" in line
        }
        for event in told:
            if event["type"] == "token_count" and event["info"]:
                number = event["info"]["last_token_usage"]["reasoning_output_tokens"]
                self.sure += self.unsure.pop(number, TokenUsage())
        usage = stored.usage or ThreadUsage()
        now = usage.own_total
        assert not _less(now, self.used), f"{self.used} -> {now}"
        assert now in _sums(self.sure, self.unsure.values()), f"{self.sure}, {self.unsure}: {now}"
        assert not usage.inherited
        self.used = now

    def _check_name(self, stored: StoredThread, said: Sequence[Json]) -> None:
        """The last name that was acknowledged stands, or one that was being written."""
        for line in said:
            if "named" in line:
                self.names = [line["named"]]
            elif "naming" in line:
                self.names.append(line["naming"])
        assert stored.name in self.names


def _key(payload: Any) -> bytes:
    return msgspec.json.encode(payload, order="sorted")


def _is_unique(item: RolloutItem) -> bool:
    return item.kind in ("task_started", "user_message", "agent_message", "item_completed")


def _has_call(item: RolloutItem) -> bool:
    return item.kind in ("function_call", "function_call_output")


def _status(end: Json) -> str:
    if end["type"] == "turn_aborted":
        return "interrupted"
    return "failed" if end.get("error") else "completed"


def _user_words(item: RolloutItem) -> str:
    if item.type != "response_item" or item.payload.get("role") != "user":
        return ""
    text: str = item.payload["content"][0]["text"]
    return text if text.startswith("life ") else ""


def _less(one: TokenUsage, other: TokenUsage) -> bool:
    """Whether any counter of *one* is below that of *other*."""
    return any(getattr(one, name) < getattr(other, name) for name in _COUNTERS)


def _sums(least: TokenUsage, others: Iterable[TokenUsage]) -> list[TokenUsage]:
    """*least* with any of the *others*, each once."""
    sums = [least]
    for other in others:
        sums += [one + other for one in sums]
    return sums
