"""The header of a rollout (``session_meta``): writing the widest form, reading every form."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from threadstore.history.items import RolloutItem
from threadstore.metadata import GitInfo, NewThread, SessionSource

__all__ = ["HeaderView", "SegmentBase", "is_header_of", "read_header", "session_meta_item"]


class SegmentBase(msgspec.Struct, frozen=True, kw_only=True):
    """Codex 0.169's ``history_base``: the end of the inherited prefix in another rollout."""

    thread_id: str
    """The rollout id of the source file (the thread id unless it is a later segment)."""
    end_ordinal_exclusive: int
    end_byte_offset: int


class HeaderView(msgspec.Struct, frozen=True, kw_only=True):
    """A ``session_meta`` payload, field by field; what is missing or wrong is ``None``."""

    id: str | None = None
    session_id: str | None = None
    timestamp: dt.datetime | None = None
    cwd: str | None = None
    originator: str | None = None
    cli_version: str | None = None
    source: SessionSource | None = None
    thread_source: str | None = None
    agent_nickname: str | None = None
    agent_role: str | None = None
    agent_path: str | None = None
    model_provider: str | None = None
    base_instructions: str | None = None
    dynamic_tools: tuple[dict[str, Any], ...] = ()
    memory_mode: str | None = None
    history_mode: str | None = None
    forked_from_id: str | None = None
    forked_from_ordinal_exclusive: int | None = None
    parent_thread_id: str | None = None
    subagent_history_start_ordinal: int | None = None
    history_base: SegmentBase | None = None
    multi_agent_version: str | None = None
    creator_user_id: str | None = None
    creator_account_id: str | None = None
    has_git: bool = False
    """Whether the line says anything about git (an empty object does)."""
    git: GitInfo | None = None


def read_header(item: RolloutItem) -> HeaderView | None:
    """The view of a ``session_meta`` item; ``None`` for any other item."""
    raise NotImplementedError


def is_header_of(item: RolloutItem, thread_id: str) -> bool:
    """Whether *item* is a ``session_meta`` of this very thread."""
    raise NotImplementedError


def session_meta_item(
    new: NewThread,
    *,
    thread_id: str,
    created_at: dt.datetime,
    cli_version: str,
    model_provider: str | None = None,
    history_base: SegmentBase | None = None,
) -> RolloutItem:
    """The header of a new thread, as Codex 0.131 and every later release can read it."""
    raise NotImplementedError
