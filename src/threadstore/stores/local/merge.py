"""File, database row and name-index entry of one thread into one :class:`StoredThread`.

Pure functions; the rules say who is believed when the three disagree.

*Legacy threads.* The log is the truth. It decides the texts, the source, the working directory and
the times of creation, the memory mode as soon as it says anything about it, and git facts as soon
as an edit of them is logged (from Codex 0.130 on; earlier ones edit the row alone). The row is
believed for what only lists need (``updated_at``, ``recency_at``, the time of archiving) and for
the settings of the last turn, and it fills in what a damaged head has lost.

*Paginated threads.* The row is the truth, the log fills in: name, git facts and memory mode are in
no log (Codex 0.169).

Names. Codex keeps the explicit name and the derived title of a legacy thread in one column, and
several releases put the title back there when something else was edited. So a title that merely
repeats what the history says is no name, and the name index is asked next.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import msgspec

from threadstore.clock import from_ms
from threadstore.metadata import GitInfo, StoredThread, TokenUsage, source_parent
from threadstore.stores.local.derive import Derived
from threadstore.stores.local.state_rows import StateRow

__all__ = ["adopt", "explicit_name", "merge", "rebase", "settle"]

_TEXTS: Final = ("preview", "first_user_message", "title")
_HEADER_FACTS: Final = (
    "thread_source",
    "agent_nickname",
    "agent_role",
    "agent_path",
    "originator",
    "creator_user_id",
    "creator_account_id",
    "cwd",
    "cli_version",
    "model_provider",
)
_COUNTERS: Final = ("token_usage", "usage")
_ROW_ONLY: Final = ("section", "section_position", "project_id", "daybreak_enabled")
_OTHERS_SAY: Final = ("name", "rollout_path", "archived_at", "section_entered_at")
_READ_ONLY_PROFILE: Final = {
    "type": "managed",
    "file_system": {
        "type": "restricted",
        "entries": [
            {"path": {"type": "special", "value": {"kind": "root"}}, "access": "read"},
        ],
    },
    "network": "restricted",
}
_NO_POLICY: Final = ((None, None), ({"type": "read-only"}, None), (None, _READ_ONLY_PROFILE))
"""What the column holds while no turn has said anything, as policy and profile."""
_BUMP: Final = dt.timedelta(milliseconds=10)
"""Rows get a time of update of their own: a taken one is moved up by a millisecond or a few."""
_ONE_CREATION: Final = dt.timedelta(seconds=2)
_SETTINGS: Final = ("model", "reasoning_effort", "approval_mode")


def merge(
    derived: Derived, row: StateRow | None, indexed_name: str | None, *, default_provider: str
) -> StoredThread:
    """The thread as a reader sees it.

    *indexed_name* is the newest entry of the name index: ``""`` if that clears the name, ``None``
    without an entry. *default_provider* stands in where nobody names one.
    """
    thread = derived.thread
    assert thread is not None, "a file that is no thread cannot be merged"
    paginated = _history_mode(derived, thread, row) == "paginated"
    if row is None:
        changes: dict[str, Any] = {
            "name": thread.name if indexed_name is None else indexed_name or None
        }
    else:
        changes = _paginated(thread, row) if paginated else _legacy(derived, thread, row)
        changes |= _from_row(thread, row)
        if paginated and _has_name_column(row):
            changes["name"] = _blank_to_none(row.name) or indexed_name or None
        else:
            changes["name"] = explicit_name(thread, row, indexed_name)
            if changes.get("title") == changes["name"]:
                changes["title"] = thread.title
    changes["history_mode"] = "paginated" if paginated else "legacy"
    if not changes.get("model_provider", thread.model_provider):
        changes["model_provider"] = default_provider
    return msgspec.structs.replace(thread, **changes)


def explicit_name(thread: StoredThread, row: StateRow, indexed_name: str | None) -> str | None:
    """The name of a legacy thread, where *thread* holds what the log says.

    Codex compares the title with the first user message only, and so takes a title that it derived
    otherwise (text beside an image) for a name, and drops a name that repeats the message.
    """
    title = row.title.strip()
    derived = (
        thread.title,
        thread.preview,
        thread.first_user_message,
        row.preview,
        row.first_user_message,
    )
    if title and all(title != (text or "").strip() for text in derived):
        return title
    if indexed_name is not None:
        return indexed_name or None
    return _blank_to_none(row.name) or thread.name


def rebase(base: StoredThread, ours: StoredThread, theirs: StoredThread) -> StoredThread:
    """Carry over what this program has written since *base* was merged.

    *ours* is *base* with those changes, *theirs* the result of merging now. A field in which file,
    row and name index say the same as before keeps our value: an observed fact may have no place
    in any of them. Where they say something new, that counts. Where the file lies is never ours to
    say.
    """
    if ours == base or theirs == ours:
        return theirs
    kept = {
        field: mine
        for field in StoredThread.__struct_fields__
        if (mine := getattr(ours, field)) != (before := getattr(base, field))
        and getattr(theirs, field) == before
    }
    if _same_sum(ours.token_usage, theirs.token_usage):
        kept["token_usage"] = ours.token_usage  # rows know no more than the sum
    if ours.updated_at < theirs.updated_at <= ours.updated_at + _BUMP:
        kept["updated_at"] = ours.updated_at
    kept.pop("rollout_path", None)
    kept.pop("archived_at", None)
    if theirs.archived_at and ours.archived_at and ours.archived_at != base.archived_at:
        kept["archived_at"] = ours.archived_at  # rows know it to the second, files not at all
    return msgspec.structs.replace(theirs, **kept)


def adopt(ours: StoredThread, theirs: StoredThread) -> StoredThread:
    """*theirs*, merged now, completed with what a writer of ours had noted before it broke off.

    Texts are said once and stay; for all else the log may have gone on since.
    """
    kept = {
        field: mine
        for field in (*_TEXTS, *_HEADER_FACTS, *_COUNTERS, "model", "git")
        if (mine := getattr(ours, field)) and (field in _TEXTS or not getattr(theirs, field))
    }
    # A response is booked before its line is written; its record may be written before that.
    if _sum(ours.token_usage) >= _sum(theirs.token_usage):
        kept["token_usage"] = ours.token_usage or theirs.token_usage
    if _used(ours) >= _used(theirs):
        kept["usage"] = ours.usage or theirs.usage
    kept["updated_at"] = max(ours.updated_at, theirs.updated_at)
    kept["recency_at"] = max(ours.recency_at, theirs.recency_at)
    return msgspec.structs.replace(theirs, **kept)


def settle(ours: StoredThread, theirs: StoredThread, *, in_row: bool = False) -> StoredThread:
    """What a writer of ours has left (*ours*), where the file lies now and with what only others
    say: the name that another program may have given meanwhile, the thread's place in lists.
    *in_row*: git facts and memory mode are in the row, where others may have changed them, too."""
    kept = {field: getattr(theirs, field) for field in (*_OTHERS_SAY, *_ROW_ONLY)}
    if in_row:
        kept |= {"memory_mode": theirs.memory_mode, "git": theirs.git or ours.git}
    return msgspec.structs.replace(ours, **kept)


def _sum(usage: TokenUsage | None) -> int:
    return 0 if usage is None else usage.total_tokens


def _used(thread: StoredThread) -> int:
    return 0 if thread.usage is None else thread.usage.total.total_tokens


def _same_sum(one: TokenUsage | None, other: TokenUsage | None) -> bool:
    return one is not None and other is not None and _sum(one) == _sum(other)


def _has_name_column(row: StateRow) -> bool:
    """Whether names and titles have columns of their own (as good as: from migration 41 on)."""
    return row.history_mode is not None


def _history_mode(derived: Derived, thread: StoredThread, row: StateRow | None) -> str:
    if derived.header or row is None or row.history_mode is None:
        return thread.history_mode
    return row.history_mode


def _from_row(thread: StoredThread, row: StateRow) -> dict[str, Any]:
    """What the row is believed for in both history modes."""
    changes: dict[str, Any] = {field: getattr(row, field) for field in _ROW_ONLY}
    changes["section_entered_at"] = _time(row.section_entered_at_ms)
    changes |= _settings(thread, row)
    updated_at, recency_at = _time(row.updated_at_ms), _time(row.recency_at_ms)
    if updated_at is not None:
        changes["updated_at"] = updated_at
    if recency_at is not None:
        changes["recency_at"] = recency_at
    if thread.archived_at is not None:
        changes["archived_at"] = _time(row.archived_at_ms) or thread.archived_at
    return changes


def _settings(thread: StoredThread, row: StateRow) -> dict[str, Any]:
    """Settings of the last turn. A row without a model has never seen a turn: its other values
    are placeholders (Codex could not read the turn contexts of 0.58 and before)."""
    if row.model is None:
        return {}
    changes = {field: getattr(row, field) for field in _SETTINGS}
    if row.approval_mode is None:
        changes["approval_mode"] = thread.approval_mode
    mine = (row.sandbox_policy, row.permission_profile)
    logged = (thread.sandbox_policy, thread.permission_profile)
    # The column holds one of the two forms; the log may hold both forms of the same setting.
    same = any(one is not None and one == other for one, other in zip(mine, logged, strict=True))
    placeholder = logged == (None, None) and mine in _NO_POLICY
    if not same and not placeholder:
        changes["sandbox_policy"], changes["permission_profile"] = mine
    return changes


def _legacy(derived: Derived, thread: StoredThread, row: StateRow) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if not thread.preview:
        changes["preview"] = row.preview
        changes["first_user_message"] = thread.first_user_message or row.first_user_message or None
        if not thread.title and row.title and row.title == row.first_user_message:
            changes["title"] = row.title
    if not derived.header:
        changes |= _header_facts(row)
    else:
        changes |= _missing(derived, row)
        if thread.source == "unknown" and row.source != "unknown":  # a word of the damaged header
            changes["source"] = row.source
        changes["created_at"] = _creation(thread.created_at, row)
    if not derived.git_edited:
        changes["git"] = _git(row)
    if "memory_mode" not in derived.said and row.memory_mode:
        changes["memory_mode"] = row.memory_mode
    return changes | _tokens(thread, row)


def _creation(logged: dt.datetime, row: StateRow) -> dt.datetime:
    """Codex takes the time twice when it creates a thread, for the row and for the header, and
    shows the row's. One that is far off is not of the creation; early rows have whole seconds."""
    created_at = _time(row.created_at_ms)
    if created_at is None or abs(created_at - logged) > _ONE_CREATION:
        return logged
    return logged if created_at == logged.replace(microsecond=0) else created_at


def _paginated(thread: StoredThread, row: StateRow) -> dict[str, Any]:
    changes = _header_facts(row)
    for field in _TEXTS:
        text = getattr(row, field)
        if text:
            changes[field] = text
    changes["git"] = _git(row)
    if row.memory_mode:
        changes["memory_mode"] = row.memory_mode
    return changes | _tokens(thread, row)


def _tokens(thread: StoredThread, row: StateRow) -> dict[str, Any]:
    """Both modes keep counters in the log; the row has their sum alone, and a writer that was
    killed may not have written that."""
    if thread.token_usage is not None or not row.tokens_used:
        return {}
    return {"token_usage": TokenUsage(total_tokens=row.tokens_used)}


def _header_facts(row: StateRow) -> dict[str, Any]:
    """The facts of the header as the row has them, where it has any."""
    changes = {field: value for field in _HEADER_FACTS if (value := getattr(row, field))}
    if row.source != "unknown":
        changes["source"] = row.source
        parent = source_parent(row.source)
        if parent is not None:
            changes["parent_thread_id"] = parent
    created_at = _time(row.created_at_ms)
    if created_at is not None:
        changes["created_at"] = created_at
    return changes


def _missing(derived: Derived, row: StateRow) -> dict[str, Any]:
    """Facts of the header that its release did not write yet."""
    return {
        field: value
        for field in _HEADER_FACTS
        if field not in derived.said and (value := getattr(row, field))
    }


def _git(row: StateRow) -> GitInfo | None:
    git = GitInfo(sha=row.git_sha, branch=row.git_branch, origin_url=row.git_origin_url)
    return None if git == GitInfo() else git


def _time(ms: int | None) -> dt.datetime | None:
    """``None`` also for 0 and for values that are no time in this millennium."""
    return from_ms(ms) if ms is not None and 0 < ms < _MAX_MS else None


_MAX_MS: Final = 253_402_300_800_000  # the year 10000


def _blank_to_none(text: str | None) -> str | None:
    return (text or "").strip() or None
