"""Metadata from one store to another: what the destination does not say already."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from threadstore.metadata import (
    GitInfo,
    GitInfoPatch,
    HistoryBase,
    HistoryMode,
    MetadataOrigin,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
)
from threadstore.store import ThreadStore

__all__ = ["new_thread", "observe", "settle"]

_CLEARABLE: Final = frozenset(
    {"reasoning_effort", "thread_source", "agent_nickname", "agent_role", "agent_path"}
)
_FILL_MISSING: Final = frozenset({"originator", "creator_user_id", "creator_account_id"})
_SAID: Final = frozenset({"name", "git", "memory_mode", "advance_recency_at"})
"""Not compared like the others."""
_MEMORY_MODES: Final = ("enabled", "disabled")
"""Those that a patch can say; a new thread can have any."""


def new_thread(thread: StoredThread, base: HistoryBase | None) -> NewThread:
    """What a copy is created as."""
    return NewThread(
        id=thread.id,
        cwd=thread.cwd,
        session_id=thread.session_id,
        forked_from_id=thread.forked_from_id,
        parent_thread_id=thread.parent_thread_id,
        history_base=base,
        history_mode=cast("HistoryMode", thread.history_mode),
        source=thread.source,
        thread_source=thread.thread_source,
        agent_nickname=thread.agent_nickname,
        agent_role=thread.agent_role,
        agent_path=thread.agent_path,
        originator=thread.originator or "",
        cli_version=thread.cli_version or None,
        model_provider=thread.model_provider or None,
        memory_mode=thread.memory_mode,
        git=thread.git,
        created_at=thread.created_at,
    )


async def observe(destination: ThreadStore, thread: StoredThread) -> StoredThread:
    """Bring the destination's facts in line with *thread*; they need no line of history there."""
    there = await destination.read_thread(thread.id)
    changes = _differences(thread, there)
    if thread.recency_at > there.recency_at:
        changes["advance_recency_at"] = thread.recency_at
    changes |= _said(thread, there)
    if not changes:
        return there
    patch = ThreadMetadataPatch(**changes)
    return await destination.update_thread_metadata(
        thread.id, patch, origin=MetadataOrigin.OBSERVED
    )


async def settle(destination: ThreadStore, thread: StoredThread) -> None:
    """The same for a thread without a writer, and the name: only a user says it.

    Where the destination's log says other git facts or another memory mode, they are edited there.
    """
    await observe(destination, thread)
    there = await destination.read_thread(thread.id)
    changes = _said(thread, there)
    if thread.name != there.name:
        changes["name"] = thread.name
    if changes:
        await destination.update_thread_metadata(
            thread.id,
            ThreadMetadataPatch(**changes),
            origin=MetadataOrigin.EXPLICIT,
            include_archived=True,
        )


def _differences(thread: StoredThread, there: StoredThread) -> dict[str, Any]:
    """Facts that history implies, where the destination says others and can be told."""
    changes = {}
    for field in ThreadMetadataPatch.__struct_fields__:
        if field in _SAID:
            continue
        value, other = getattr(thread, field), getattr(there, field)
        can_be_said = value is not None or field in _CLEARABLE
        if value != other and can_be_said and not (field in _FILL_MISSING and other is not None):
            changes[field] = value
    return changes


def _said(thread: StoredThread, there: StoredThread) -> dict[str, Any]:
    """Git facts and memory mode, where they differ."""
    changes: dict[str, Any] = {}
    if thread.git != there.git:
        git, other = (msgspec.structs.asdict(one or GitInfo()) for one in (thread.git, there.git))
        changes["git"] = GitInfoPatch(**{k: v for k, v in git.items() if v != other[k]})
    if thread.memory_mode != there.memory_mode and thread.memory_mode in _MEMORY_MODES:
        changes["memory_mode"] = thread.memory_mode
    return changes
