"""Rows of Codex's ``threads`` table, decoded field by field: a bad value costs that value."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from threadstore.metadata import Section, SessionSource

__all__ = ["COLUMNS", "StateRow", "column_list", "decode_row", "is_legacy_policy"]

_TEXTS: Final = (
    "id rollout_path source model_provider cwd title sandbox_policy approval_mode cli_version"
    " first_user_message preview agent_nickname agent_role agent_path memory_mode model"
    " reasoning_effort thread_source git_sha git_branch git_origin_url history_mode name"
    " thread_section_id project_id originator creator_user_id creator_account_id"
)
_NUMBERS: Final = (
    "created_at created_at_ms updated_at updated_at_ms recency_at recency_at_ms tokens_used"
    " archived archived_at section_position section_entered_at_ms daybreak_enabled"
)
_TEXT_COLUMNS: Final = tuple(_TEXTS.split())
COLUMNS: Final = (*_TEXT_COLUMNS, *_NUMBERS.split())
"""What is read, in the order in which :func:`decode_row` wants it."""

_ID: Final = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_FIRST_MS: Final = 1_577_836_800_000  # Codex 0.131 and 0.169 take a smaller value for seconds
_EARLIEST_MS: Final = -62_135_596_800_000
_LATEST_MS: Final = 253_402_300_799_999
_LEGACY_POLICIES: Final = frozenset(
    {"read-only", "workspace-write", "danger-full-access", "external-sandbox"}
)


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
    """What could not be read; each begins with the name of the column."""
    """One sentence for each value that could not be read."""


@functools.lru_cache(maxsize=8)
def column_list(present: frozenset[str], *, as_bytes: bool = False) -> str:
    """The columns for a SELECT, ``NULL`` for those that the table lacks.

    *as_bytes*: text comes as bytes, for tables with text that is not UTF-8.
    """
    form = "CASE typeof({0}) WHEN 'text' THEN CAST({0} AS BLOB) ELSE {0} END" if as_bytes else "{0}"
    return ", ".join(form.format(name) if name in present else "NULL" for name in COLUMNS)


def decode_row(values: Sequence[Any], sections: dict[str, Section]) -> StateRow:
    """The row of *values* in the order of :data:`COLUMNS`; never raises for what they are."""
    problems = _type_problems(tuple(map(type, values)))
    damage: list[str] = []
    if problems:
        values = list(values)
        for position, problem in problems:
            values[position] = _repaired(position, values[position], damage, problem)
    (id_, rollout_path, source, model_provider, cwd, title, sandbox_policy, approval_mode,
     cli_version, first_user_message, preview, agent_nickname, agent_role, agent_path, memory_mode,
     model, reasoning_effort, thread_source, git_sha, git_branch, git_origin_url, history_mode,
     name, section_id, project_id, originator, creator_user_id, creator_account_id,
     created_s, created_ms, updated_s, updated_ms, recency_s, recency_ms, tokens_used,
     archived, archived_s, section_position, section_entered_ms, daybreak) = values  # fmt: skip
    if id_ is None or not re.fullmatch(_ID, id_):
        damage.append("id is not a UUID: Codex lists nothing while the row is there")
    decoded_source = _source(source or "vscode")
    if decoded_source is None:
        damage.append("source cannot be read")
    policy = _policy(sandbox_policy) if sandbox_policy else None
    if sandbox_policy and policy is None:
        damage.append("sandbox_policy cannot be read")
    legacy = policy is not None and is_legacy_policy(policy)
    if archived not in (0, 1):
        damage.append(f"archived is {archived}: Codex lists the thread nowhere")
    if history_mode not in (None, "legacy", "paginated"):
        damage.append(
            f"history_mode is {history_mode!r}: Codex lists nothing while the row is there"
        )
        history_mode = None
    return StateRow(
        id=id_ or "",
        rollout_path=rollout_path or "",
        created_at_ms=_time(created_s, created_ms, "created_at", damage) or 0,
        updated_at_ms=_time(updated_s, updated_ms, "updated_at", damage) or 0,
        recency_at_ms=_time(recency_s, recency_ms, "recency_at", damage) or None,
        archived=bool(archived),
        archived_at_ms=_time(archived_s, None, "archived_at", damage),
        title=title or "",
        name=name,
        preview=preview or "",
        first_user_message=first_user_message or "",
        source="unknown" if decoded_source is None else decoded_source,
        thread_source=thread_source,
        agent_nickname=agent_nickname,
        agent_role=agent_role,
        agent_path=agent_path,
        cwd=cwd or "",
        cli_version=cli_version or "",
        originator=originator,
        model_provider=model_provider or "",
        model=model,
        reasoning_effort=reasoning_effort,
        approval_mode=_approval(approval_mode) if approval_mode else None,
        sandbox_policy=policy if legacy else None,
        permission_profile=None if legacy else policy,
        tokens_used=max(tokens_used or 0, 0),
        git_sha=git_sha,
        git_branch=git_branch,
        git_origin_url=git_origin_url,
        memory_mode=memory_mode,
        history_mode=history_mode,
        section=sections.get(section_id) if section_id else None,
        section_position=section_position,
        section_entered_at_ms=_time(None, section_entered_ms, "section_entered_at", damage),
        project_id=project_id,
        daybreak_enabled=None if daybreak is None else bool(daybreak),
        creator_user_id=creator_user_id,
        creator_account_id=creator_account_id,
        damage=tuple(damage),
    )


@functools.lru_cache(maxsize=512)
def _type_problems(types: tuple[type, ...]) -> tuple[tuple[int, str], ...]:
    """Positions whose values are not of the column's type: few combinations occur in a table."""
    problems: list[tuple[int, str]] = []
    for position, (name, found) in enumerate(zip(COLUMNS, types, strict=True)):
        wanted = str if position < len(_TEXT_COLUMNS) else int
        if found is not wanted and found is not type(None):
            problems.append((position, f"{name} is not {'text' if wanted is str else 'a number'}"))
    return tuple(problems)


def _repaired(position: int, value: Any, damage: list[str], problem: str) -> Any:
    if position >= len(_TEXT_COLUMNS):
        damage.append(problem)
        return None
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        damage.append(f"{COLUMNS[position]} is not UTF-8")
        return value.decode(errors="replace")


def _time(seconds: int | None, ms: int | None, name: str, damage: list[str]) -> int | None:
    if ms is None:
        if seconds is None:
            return None
        ms = seconds * 1000
    elif ms < _FIRST_MS and ms // 1000 != seconds:
        ms *= 1000
    if _EARLIEST_MS <= ms <= _LATEST_MS:
        return ms
    damage.append(f"{name} is out of range")
    return None


@functools.lru_cache(maxsize=1024)
def _source(text: str) -> SessionSource | None:
    value = _json(text)
    if isinstance(value, str) or (isinstance(value, dict) and value):
        return value
    return text if value is None and text.replace("_", "").replace("-", "").isalnum() else None


@functools.lru_cache(maxsize=256)
def _policy(text: str) -> dict[str, Any] | None:
    value = _json(text)
    if isinstance(value, dict):
        return value
    word = value if isinstance(value, str) else text
    return {"type": word} if word in _LEGACY_POLICIES else None


@functools.lru_cache(maxsize=64)
def _approval(text: str) -> str | dict[str, Any]:
    value = _json(text)
    return cast("str | dict[str, Any]", value) if isinstance(value, (str, dict)) else text


def _json(text: str) -> object:
    try:
        return cast("object", msgspec.json.decode(text))
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


def is_legacy_policy(policy: dict[str, Any]) -> bool:
    """Whether it is a sandbox policy as Codex 0.131 has it, not a permission profile."""
    return policy.get("type") in _LEGACY_POLICIES
