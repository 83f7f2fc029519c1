"""Token usage: reading it out of a history, and counting every response once.

Two lines tell of one response. ``token_count`` (every release) holds the total so far and the last
response; it is repeated when nothing new was used, goes on from the total of what a fork took over,
and its total jumps to the size of the window, all other counters zero, when the context overflows.
``token_usage_record`` (0.155 and later) stands before it, as soon as the response is complete.
"""

from __future__ import annotations

from typing import Any, Final, Self

import msgspec

from threadstore.metadata import ThreadUsage, TokenUsage

__all__ = [
    "UNKNOWN_MODEL",
    "LedgerState",
    "UsageLedger",
    "last_usage",
    "recorded_usage",
    "total_usage",
]

UNKNOWN_MODEL: Final = "unknown"
_LIMIT: Final = 1 << 53
"""No counter grows beyond it, whatever a file says: sums stay numbers that JSON can hold."""

_Parts = tuple[int, int, int, int]


class LedgerState(msgspec.Struct, frozen=True, array_like=True):
    """What a ledger knows beside the usage."""

    total: TokenUsage | None
    goes_on: bool
    recorded: TokenUsage | None


class UsageLedger:
    """What a thread has used so far, fed with lines or, before they exist, with responses.

    A response counts when it is booked or when a total first says more than before, whichever
    comes first; the other then adds nothing. Going on with the stored usage and total of a thread
    is as good as having seen its history.
    """

    def __init__(
        self,
        usage: ThreadUsage | None = None,
        total: TokenUsage | None = None,
        *,
        goes_on: bool = False,
    ) -> None:
        """*goes_on*: totals include a history that is not known, where *total* is not."""
        self._own = dict(usage.own) if usage is not None else {}
        self._inherited = dict(usage.inherited) if usage is not None else {}
        self._total = _baseline(usage, total)
        # Of a sum alone, which is not that of the usage, nobody knows the counters.
        self._goes_on = goes_on or (self._total is None and total is not None)
        self._recorded: TokenUsage | None = None  # by a record, and in no event yet

    def state(self) -> LedgerState:
        """What :meth:`restore` needs beside the usage."""
        return LedgerState(self._total, self._goes_on, self._recorded)

    @classmethod
    def restore(cls, usage: ThreadUsage | None, state: LedgerState) -> Self:
        """A ledger that goes on where another one stood."""
        ledger = cls(usage)
        ledger._total, ledger._goes_on = state.total, state.goes_on
        ledger._recorded = state.recorded
        return ledger

    @property
    def usage(self) -> ThreadUsage | None:
        """The usage so far, for the metadata; ``None`` while nothing was counted."""
        if not self._own and not self._inherited:
            return None
        return ThreadUsage(own=dict(self._own), inherited=dict(self._inherited))

    @property
    def total(self) -> TokenUsage | None:
        """What ``total_token_usage`` of the next ``token_count`` goes on from, inherited usage
        included; ``None`` before the first response."""
        return self._total

    def book(self, usage: TokenUsage, model: str | None, *, inherited: bool = False) -> bool:
        """Count a response that is complete; whether that changed the usage."""
        self._total = usage if self._total is None else self._total + usage
        return self._add(usage, model, inherited=inherited)

    def observe(self, info: Any, model: str | None, *, inherited: bool = False) -> bool:
        """Take in the ``info`` of a ``token_count`` event; whether that changed the usage.

        Counts what the total has grown by. A total that was begun anew (Codex 0.57 to 0.77 did so
        when it resumed a thread) is that of the last response; one that went back in any counter,
        as it does when the context overflows, says nothing: then the last response counts.
        """
        total = _counters(info, "total_token_usage")
        if total is None:
            return False
        before, self._total = self._total, total
        last = _counters(info, "last_token_usage")
        recorded, self._recorded = self._recorded, None
        if recorded is not None and last is not None and _parts(recorded) == _parts(last):
            last = None  # counted; the total may lack what a writer recorded before it was killed
        if before is None:
            return self._add(last if self._goes_on else total, model, inherited=inherited)
        if _parts(before) == _parts(total):
            return False
        anew = last is not None and _parts(last) == _parts(total)
        grown = None if anew else _difference(total, before)
        return self._add(last if grown is None else grown, model, inherited=inherited)

    def record(self, payload: Any, model: str | None, *, inherited: bool = False) -> bool:
        """Take in a ``token_usage_record``; whether that changed the usage.

        Its total is not that of the events: an overflow does not touch it (0.169 showed).
        """
        usage = _counters(payload, "usage")
        total = _counters(payload, "thread_token_usage")
        if usage is None:
            return False
        if total is not None and self._total is not None and _parts(total) == _parts(self._total):
            return False
        self._recorded = usage
        if self._total is None and total is not None:
            self._total = total
            return self._add(usage, model, inherited=inherited)
        return self.book(usage, model, inherited=inherited)

    def _add(self, usage: TokenUsage | None, model: str | None, *, inherited: bool) -> bool:
        if usage is None or not any(_parts(usage)):
            return False
        models = self._inherited if inherited else self._own
        model = model or UNKNOWN_MODEL
        before = _parts(models[model]) if model in models else (0, 0, 0, 0)
        pairs = zip(before, _parts(usage), strict=True)
        models[model] = _usage(*(min(one + other, _LIMIT) for one, other in pairs))
        return True


def total_usage(payload: Any) -> TokenUsage | None:
    """The counters of the whole thread in a ``token_count`` payload; ``None`` if it has none.

    ``info`` is null in events that only carry rate limits (every Codex release).
    """
    return _counters(_info(payload), "total_token_usage")


def last_usage(payload: Any) -> TokenUsage | None:
    """The counters of the last model response in a ``token_count`` payload; ``None`` if none."""
    return _counters(_info(payload), "last_token_usage")


def recorded_usage(payload: Any) -> TokenUsage | None:
    """What the response used of which a ``token_usage_record`` tells."""
    return _counters(payload, "usage")


def _info(payload: Any) -> Any:
    return payload.get("info") if isinstance(payload, dict) else None


def _counters(holder: Any, key: str) -> TokenUsage | None:
    counters = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(counters, dict):
        return None
    try:
        return msgspec.convert(counters, TokenUsage)
    except msgspec.ValidationError:
        fields = TokenUsage.__struct_fields__
        said = {field: counters.get(field) for field in fields}
        return TokenUsage(**{field: n for field, n in said.items() if type(n) is int})


def _baseline(usage: ThreadUsage | None, total: TokenUsage | None) -> TokenUsage | None:
    """The total that stored metadata stand for.

    A database row of Codex knows the sum of a total only; where that is the sum of the usage, the
    usage knows the rest. ``None``: nobody knows the rest.
    """
    if usage is None:
        return total
    known = usage.total
    if total is None:
        return known
    if any(_parts(total)) or not total.total_tokens:
        return total
    return known if total.total_tokens == known.total_tokens else None


def _parts(usage: TokenUsage) -> _Parts:
    """The counters that say something of their own, those out of any range as zero."""
    counters = (
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.output_tokens,
        usage.reasoning_output_tokens,
    )
    if min(counters) >= 0 and max(counters) <= _LIMIT:
        return counters
    given, cached, made, reasoned = (n if 0 <= n <= _LIMIT else 0 for n in counters)
    return given, cached, made, reasoned


def _difference(total: TokenUsage, before: TokenUsage) -> TokenUsage | None:
    """What *total* has grown by; ``None`` if a counter went back."""
    grown = [one - other for one, other in zip(_parts(total), _parts(before), strict=True)]
    return None if min(grown) < 0 else _usage(*grown)


def _usage(given: int, cached: int, made: int, reasoned: int) -> TokenUsage:
    return TokenUsage(
        input_tokens=given,
        cached_input_tokens=cached,
        output_tokens=made,
        reasoning_output_tokens=reasoned,
        total_tokens=given + made,
    )
