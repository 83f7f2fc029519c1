"""Threads as an application leaves them: history, and the metadata that follows from it."""

from __future__ import annotations

from typing import Any

from threadstore.clock import Clock
from threadstore.metadata import (
    MetadataOrigin,
    NewThread,
    SessionSource,
    StoredThread,
    ThreadMetadataPatch,
    ThreadUsage,
    TokenUsage,
)
from threadstore.store import ThreadStore
from threadstore.testing import items

__all__ = ["empty_thread", "record_thread", "spawned_by"]

USAGE = TokenUsage(input_tokens=7, output_tokens=3, total_tokens=10)


async def record_thread(
    store: ThreadStore,
    clock: Clock,
    text: str = "fix the tests",
    *,
    name: str | None = None,
    cwd: str = "/repo",
    live: bool = False,
    **new: Any,
) -> StoredThread:
    """A legacy thread with one turn that began and ended now; *new* goes to :class:`NewThread`.

    Its metadata says what its history says, so that it does not matter which of them a store
    believes. With *live* its writer stays open.
    """
    thread = await store.create_thread(NewThread(cwd=cwd, **new))
    now = clock.now()
    await store.append_items(thread.id, items.turn("turn-1", text, at=now, usage=USAGE, cwd=cwd))
    observed = ThreadMetadataPatch(
        title=text,
        preview=text,
        first_user_message=text,
        updated_at=now,
        advance_recency_at=now,
        model="gpt-5.1",
        reasoning_effort="high",
        approval_mode="never",
        sandbox_policy={"type": "danger-full-access"},
        token_usage=USAGE,
        usage=ThreadUsage(own={"gpt-5.1": USAGE}),
    )
    update = store.update_thread_metadata
    thread = await update(thread.id, observed, origin=MetadataOrigin.OBSERVED)
    if name is not None:
        patch = ThreadMetadataPatch(name=name)
        thread = await update(thread.id, patch, origin=MetadataOrigin.EXPLICIT)
    if not live:
        await store.shutdown_thread(thread.id)
    return thread


async def empty_thread(store: ThreadStore, **new: Any) -> StoredThread:
    """A cold thread with nothing but its header."""
    thread = await store.create_thread(NewThread(**{"cwd": "/repo", **new}))
    await store.persist_thread(thread.id)
    await store.shutdown_thread(thread.id)
    return thread


def spawned_by(parent_id: str, **agent: Any) -> SessionSource:
    """The source of a sub-agent that *parent_id* spawned."""
    return {"subagent": {"thread_spawn": {"parent_thread_id": parent_id, "depth": 1, **agent}}}
