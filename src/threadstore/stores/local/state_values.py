"""A thread as values of Codex's ``threads`` table: what a new row says, what a patch changes."""

from __future__ import annotations

import os
from typing import Any, Final

import msgspec

from threadstore.clock import to_ms
from threadstore.metadata import (
    UNSET,
    GitInfo,
    GitInfoPatch,
    MetadataOrigin,
    SessionSource,
    StoredThread,
    ThreadMetadataPatch,
)
from threadstore.stores.local.paths import existing_path
from threadstore.stores.local.state_rows import StateRow
from threadstore.stores.local.state_schema import Schema

__all__ = ["changes", "new_row"]

PROFILE_LEVEL: Final = 39
"""From here on Codex keeps permission profiles where sandbox policies were (0.142 and later)."""

_READ_ONLY: Final = {"type": "read-only"}  # what Codex assumes where a log names no policy
_MAX_INTEGER: Final = (1 << 63) - 1
_SPAWN_KEYS: Final = ("parent_thread_id", "depth", "agent_path", "agent_nickname", "agent_role")
_PLAIN_FIELDS: Final = (
    "cwd",
    "model_provider",
    "model",
    "reasoning_effort",
    "cli_version",
    "source",
    "thread_source",
    "agent_nickname",
    "agent_role",
    "agent_path",
    "approval_mode",
)
_NEVER_EMPTIED: Final = ("preview", "first_user_message")
_FILLED_ONCE: Final = ("originator", "creator_user_id", "creator_account_id")

Values = dict[str, Any]


def new_row(thread: StoredThread, *, path: str, schema: Schema) -> Values:
    """Every column of a row for *thread*, as far as this database has the column."""
    git = thread.git or GitInfo()
    values: Values = {
        "id": thread.id,
        "rollout_path": path,
        **_times("created_at", to_ms(thread.created_at)),
        **_times("updated_at", to_ms(thread.updated_at)),
        **_times("recency_at", to_ms(thread.recency_at)),
        **_archived(thread),
        **{field: _plain(thread, field) for field in _PLAIN_FIELDS},
        **{field: getattr(thread, field) for field in _FILLED_ONCE},
        "preview": thread.preview,
        "first_user_message": thread.first_user_message or "",
        **_names(thread, schema),
        "sandbox_policy": _policy(thread, profile=schema.level >= PROFILE_LEVEL),
        "tokens_used": _tokens(thread),
        "git_sha": git.sha,
        "git_branch": git.branch,
        "git_origin_url": git.origin_url,
        "memory_mode": thread.memory_mode,
        "history_mode": _history_mode(thread),
    }
    return {column: value for column, value in values.items() if column in schema.columns}


def changes(
    thread: StoredThread,
    patch: ThreadMetadataPatch,
    row: StateRow,
    *,
    origin: MetadataOrigin,
    path: str,
    schema: Schema,
) -> Values:
    """What the patch changes in the row of *thread* (as it is after the patch), by column.

    Beside it, and only where the row differs: where the rollout is, and what the row lacks.
    Columns may be named that the table has not.
    """
    values: Values = {}
    archived_by_another = row.archived and not thread.archived and existing_path(path) is None
    if not archived_by_another:  # Codex 0.131 archives without asking who writes
        values["rollout_path"] = path
        if row.archived is not thread.archived:
            values.update(_archived(thread))
    present = patch.present()
    values.update({field: _plain(thread, field) for field in _PLAIN_FIELDS if field in present})
    for field in _NEVER_EMPTIED:
        text = getattr(thread, field)
        if text and (field in present or not getattr(row, field)):
            values[field] = text
    for field in _FILLED_ONCE:
        if getattr(row, field) is None and getattr(thread, field) is not None:
            values[field] = getattr(thread, field)
    values.update(_changed_names(thread, patch, row, origin, schema))
    if isinstance(patch.git, GitInfoPatch):
        values.update(_changed_git(patch.git, origin))
    if "sandbox_policy" in present or "permission_profile" in present:
        profile = schema.level >= PROFILE_LEVEL or row.permission_profile is not None
        values["sandbox_policy"] = _policy(thread, profile=profile)
    if patch.token_usage is not UNSET:
        values["tokens_used"] = _tokens(thread)
    if patch.memory_mode is not UNSET:
        values["memory_mode"] = patch.memory_mode
    if row.history_mode == "legacy" and thread.history_mode == "paginated":
        values["history_mode"] = "paginated"
    values.update(_changed_times(patch, row))
    return values


def _changed_names(
    thread: StoredThread,
    patch: ThreadMetadataPatch,
    row: StateRow,
    origin: MetadataOrigin,
    schema: Schema,
) -> Values:
    renamed = patch.name is not UNSET and origin is MetadataOrigin.EXPLICIT
    names = _names(thread, schema)
    # What the name index alone knows is older than the column that Codex 0.150 and later look at.
    forgotten = patch.name is UNSET and not row.name and thread.name is not None
    if not (renamed or forgotten):
        names.pop("name", None)
    if not (renamed or patch.title is not UNSET or not row.title):
        del names["title"]
    elif not names["title"] and not renamed:
        del names["title"]  # observation knows no title: it does not take one away either
    return names


def _changed_git(git: GitInfoPatch, origin: MetadataOrigin) -> Values:
    said = {"git_sha": git.sha, "git_branch": git.branch, "git_origin_url": git.origin_url}
    explicit = origin is MetadataOrigin.EXPLICIT
    return {
        column: value if isinstance(value, str) else None
        for column, value in said.items()
        if value is not UNSET and (explicit or value is not None)
    }


def _changed_times(patch: ThreadMetadataPatch, row: StateRow) -> Values:
    values: Values = {}
    if patch.created_at is not UNSET:
        values.update(_times("created_at", to_ms(patch.created_at)))
    if patch.updated_at is not UNSET:
        values.update(_times("updated_at", to_ms(patch.updated_at)))
    if patch.advance_recency_at is not UNSET:
        ms = to_ms(patch.advance_recency_at)
        if row.recency_at_ms is None or ms > row.recency_at_ms:
            values.update(_times("recency_at", ms))
    return values


def _times(column: str, ms: int) -> Values:
    return {column: ms // 1000, f"{column}_ms": ms}


def _archived(thread: StoredThread) -> Values:
    moment = thread.archived_at
    seconds = None if moment is None else to_ms(moment) // 1000
    return {"archived": int(seconds is not None), "archived_at": seconds}


def _names(thread: StoredThread, schema: Schema) -> Values:
    # Legacy threads have one column for both, and Codex takes a title for a name if it differs
    # from the first user message.
    name, title = thread.name, thread.title or ""
    if thread.history_mode == "paginated" and "name" in schema.columns:
        return {"name": name, "title": title}
    return {"title": name or title}


def _plain(thread: StoredThread, field: str) -> Any:
    value = getattr(thread, field)
    if field == "cwd":
        value = os.path.realpath(value) if os.path.isabs(value) and os.path.exists(value) else value
    elif field == "source":
        value = _source_text(value)
    elif isinstance(value, dict):
        value = _json(value)
    return value


def _source_text(source: SessionSource) -> str:
    """The exact text that Codex compares with: all five keys of a spawn, in its order."""
    if isinstance(source, str):
        return source
    match source:
        case {"subagent": {"thread_spawn": dict(spawn)}}:
            ordered = {key: spawn.get(key) for key in _SPAWN_KEYS}
            return _json({"subagent": {"thread_spawn": {**ordered, **spawn}}})
        case _:
            return _json(source)


def _policy(thread: StoredThread, *, profile: bool) -> str:
    known = [thread.sandbox_policy, thread.permission_profile]
    if profile:
        known.reverse()
    return _json(next((policy for policy in known if policy is not None), _READ_ONLY))


def _tokens(thread: StoredThread) -> int:
    usage = thread.token_usage
    return 0 if usage is None else min(max(usage.total_tokens, 0), _MAX_INTEGER)


def _history_mode(thread: StoredThread) -> str:
    return "paginated" if thread.history_mode == "paginated" else "legacy"


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half a character: it goes when it is stored
        import json

        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
