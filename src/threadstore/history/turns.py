"""Items to turns: what belongs together between a user's message and the agent's last word."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import msgspec

from threadstore.history.items import RolloutItem

__all__ = ["StoredTurn", "TurnBuilder", "TurnError", "TurnStatus", "build_turns"]

TurnStatus: TypeAlias = Literal["completed", "interrupted", "failed", "in_progress"]


class TurnError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a turn failed."""

    message: str
    info: Any = None
    """Codex's machine-readable reason (``codex_error_info``), as it stands on disk."""
    details: str | None = None


class StoredTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a thread, with the raw items that belong to it."""

    id: str
    status: TurnStatus
    error: TurnError | None = None
    started_at: dt.datetime | None = None
    completed_at: dt.datetime | None = None
    duration_ms: int | None = None
    items: tuple[RolloutItem, ...] = ()
    first_position: int
    """Position of its first item."""
    last_position: int
    """Position of its last item."""


class TurnBuilder:
    """Builds turns from items fed one at a time."""

    def __init__(self, *, open_status: TurnStatus = "interrupted") -> None:
        self._open_status = open_status

    def feed(self, item: RolloutItem) -> None:
        """Take the next item of the history."""
        raise NotImplementedError

    def turns(self) -> tuple[StoredTurn, ...]:
        """The turns so far, oldest first, rolled-back ones left out."""
        raise NotImplementedError


def build_turns(
    items: Iterable[RolloutItem], *, open_status: TurnStatus = "interrupted"
) -> tuple[StoredTurn, ...]:
    """The turns of a whole history, oldest first."""
    builder = TurnBuilder(open_status=open_status)
    for item in items:
        builder.feed(item)
    return builder.turns()
