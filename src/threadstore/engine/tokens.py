"""Token bookkeeping, apart from the event that tells of it.

Usage is booked the moment a response is complete. The event waits: one for each model request that
delivered usage or rate limits, told when the request's tools have settled (Codex 0.131).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from threadstore.engine.events import TokenCount
from threadstore.history.usage import last_usage, total_usage
from threadstore.metadata import TokenUsage

if TYPE_CHECKING:
    from threadstore.history.context import ContextFold

__all__ = ["TokenBook", "token_book"]

Json = dict[str, Any]

_CARRIED: Final = ("credits", "plan_type")


class TokenBook:
    """What a thread used so far, what its last request used, and the account's limits."""

    def __init__(
        self,
        *,
        total: TokenUsage | None,
        last: TokenUsage | None,
        window: int,
        rate_limits: Json | None = None,
    ) -> None:
        self.total = total
        """Of the thread, with what a fork took over; ``None`` before the first response."""
        self.last = last
        """Of the last response; after a compaction or a revert what the context is estimated at."""
        self.window = window
        self.rate_limits = rate_limits
        self._news = False

    @property
    def context_tokens(self) -> int:
        """What the context held at the last response, the response included."""
        return 0 if self.last is None else self.last.total_tokens

    @property
    def overflown(self) -> bool:
        """Whether the context did not fit where :meth:`fill_window` cannot say it by the size of
        the last response: of a thread that had used more than a window before, that is nothing."""
        if self.total is None or self.last is None or self.last.total_tokens:
            return False
        return self.total == TokenUsage(total_tokens=self.total.total_tokens or self.window)

    def book(self, usage: TokenUsage) -> None:
        """Count a response."""
        self.total = usage if self.total is None else self.total + usage
        self.last = usage
        self._news = True

    def limits(self, snapshot: Json) -> None:
        """Note the account's limits; credits and plan stay where they are not said again."""
        known = self.rate_limits or {}
        kept: Json = {key: known[key] for key in _CARRIED if known.get(key) is not None}
        said = {key: value for key, value in snapshot.items() if value is not None}
        self.rate_limits = {**snapshot, **kept, **said}
        self._news = True

    def exhausted(self) -> None:
        """Note that the account's limit is reached, whatever is known of it."""
        self._news = True

    def estimate(self, tokens: int) -> None:
        """Say how large the context is now that it was replaced; nothing was used for that."""
        if self.total is None:
            self.total = TokenUsage()
        self.last = TokenUsage(total_tokens=max(tokens, 1))  # none: see overflown

    def fill_window(self) -> None:
        """Say that the context did not fit: the counters jump to the window, as Codex writes it."""
        before = 0 if self.total is None else self.total.total_tokens
        self.total = TokenUsage(total_tokens=self.window)
        self.last = TokenUsage(total_tokens=max(self.window - before, 0))

    def take(self, turn_id: str) -> TokenCount | None:
        """The event that is due; ``None`` if nothing was booked since the last."""
        return self.event(turn_id) if self._news else None

    def event(self, turn_id: str) -> TokenCount:
        """The event, due or not."""
        self._news = False
        return TokenCount(turn_id=turn_id, info=self.info, rate_limits=self.rate_limits)

    @property
    def info(self) -> Json | None:
        """What the event says was used; ``None`` if nothing was."""
        if self.total is None:
            return None
        return {
            "total_token_usage": msgspec.to_builtins(self.total),
            "last_token_usage": msgspec.to_builtins(self.last or TokenUsage()),
            "model_context_window": self.window,
        }


def token_book(stored: TokenUsage | None, fold: ContextFold, window: int) -> TokenBook:
    """The books of a thread that goes on: what its history says, or its metadata if that knows of
    a response more."""
    total = total_usage({"info": fold.token_info})
    for usage in fold.unreported:
        total = usage if total is None else total + usage
    if stored is not None and (total is None or stored.total_tokens > total.total_tokens):
        total = stored
    last = last_usage({"info": fold.token_info})
    return TokenBook(total=total, last=last, window=window, rate_limits=fold.rate_limits)
