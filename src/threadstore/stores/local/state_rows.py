"""Rows of Codex's ``threads`` table, decoded field by field."""

from __future__ import annotations

from typing import Any

import msgspec

from threadstore.metadata import Section, SessionSource

__all__ = ["StateRow"]


class StateRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of ``threads``, at any migration level. Times are epoch milliseconds (UTC).

    A column that this level does not have, and a value that cannot be read, is ``None`` or the
    field's default; ``damage`` says which values could not be read.
    """

    id: str
    """As it stands in the table; not necessarily a UUID (then ``damage`` says so)."""
    rollout_path: str = ""
    created_at_ms: int = 0
    updated_at_ms: int = 0
    recency_at_ms: int | None = None
    archived: bool = False
    archived_at_ms: int | None = None
    """Whole seconds; the table has no more."""

    title: str = ""
    """Explicit name or derived title (legacy threads), derived title (paginated ones)."""
    name: str | None = None
    """Explicit name of a paginated thread."""
    preview: str = ""
    first_user_message: str = ""

    source: SessionSource = "unknown"
    thread_source: str | None = None
    agent_nickname: str | None = None
    agent_role: str | None = None
    agent_path: str | None = None
    cwd: str = ""
    cli_version: str = ""
    originator: str | None = None
    model_provider: str = ""
    model: str | None = None
    reasoning_effort: str | None = None
    approval_mode: str | dict[str, Any] | None = None
    sandbox_policy: dict[str, Any] | None = None
    """Set if the column holds a legacy policy (JSON or bare word)."""
    permission_profile: dict[str, Any] | None = None
    """Set if the column holds a permission profile (Codex 0.142 and later)."""
    tokens_used: int = 0
    git_sha: str | None = None
    git_branch: str | None = None
    git_origin_url: str | None = None
    memory_mode: str | None = None
    history_mode: str | None = None
    """``legacy`` or ``paginated``; ``None`` below level 40."""

    section: Section | None = None
    section_position: int | None = None
    section_entered_at_ms: int | None = None
    project_id: str | None = None
    daybreak_enabled: bool | None = None
    creator_user_id: str | None = None
    creator_account_id: str | None = None

    damage: tuple[str, ...] = ()
    """One sentence for each value that could not be read."""
