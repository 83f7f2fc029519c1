"""Before a session can be: a thread that nobody else drives, its context, its tools."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import msgspec

from threadstore.engine.journal import folded
from threadstore.engine.loading import LoadedContext, glance, load_context
from threadstore.engine.settings import DEFAULT_INSTRUCTIONS, SessionSettings
from threadstore.engine.tools import Tool, as_tool, client_tools
from threadstore.errors import Conflict, InvalidRequest
from threadstore.history.header import HeaderView
from threadstore.live.thread import LiveThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from threadstore.history.context import ContextFold
    from threadstore.live.ephemeral import EphemeralThread
    from threadstore.manager import ThreadHandle, ThreadManager
    from threadstore.metadata import StoredThread

__all__ = ["claimed", "context_reader", "filled", "loaded_context", "offered", "release"]

Json = dict[str, Any]

_in_use: WeakSet[LiveThread | EphemeralThread] = WeakSet()


@asynccontextmanager
async def claimed(
    manager: ThreadManager, handle: ThreadHandle, *, unload: bool
) -> AsyncIterator[None]:
    """Keep other sessions off the thread; if none comes about, let go of it again."""
    if handle in _in_use:
        raise Conflict(f"thread {handle.id} already has a session", hint="use that one")
    _in_use.add(handle)
    try:
        yield
    except BaseException:
        release(handle)
        if unload:
            await manager.unload(handle.id)
        raise


def offered(
    tools: Iterable[Tool | Callable[..., Any]], dynamic: Iterable[Json]
) -> tuple[Tool, ...]:
    """The session's tools; those of the program stand before those of its owner."""
    return (*map(as_tool, tools), *client_tools(dynamic))


def filled(
    settings: SessionSettings, loaded: LoadedContext, stored: StoredThread
) -> SessionSettings:
    """*settings* with what they leave out as the thread has it."""
    header = loaded.header
    model = settings.model or loaded.fold.model or stored.model
    if model is None:
        raise InvalidRequest(
            f"thread {stored.id} does not say which model it used", hint="set SessionSettings.model"
        )
    last = loaded.fold.last_turn_context or {}
    own = last if last.get("thread_id") == stored.id else {}  # not that of a fork's source
    kept = _text(own, "base_instructions") or header.base_instructions or DEFAULT_INSTRUCTIONS
    return msgspec.structs.replace(
        settings,
        model=model,
        reasoning_effort=settings.reasoning_effort or stored.reasoning_effort,
        instructions=settings.instructions or kept,
        cwd=_text(own, "cwd") if settings.cwd is None else settings.cwd,
    )


def _text(fields: Json, key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) else None


def release(handle: ThreadHandle) -> None:
    """Let other sessions have the thread."""
    _in_use.discard(handle)


async def loaded_context(manager: ThreadManager, handle: ThreadHandle) -> LoadedContext:
    """What the thread's history says; of a stored one the model's context comes with its first
    turn."""
    if isinstance(handle, LiveThread):
        return await glance(manager.store, handle.id)
    history = await handle.load_history()
    return LoadedContext(fold=folded(history.items), header=HeaderView())


def context_reader(
    manager: ThreadManager, handle: ThreadHandle
) -> Callable[[], Awaitable[ContextFold]]:
    """What reads the model's context out of the thread's history, as it is by then."""

    async def read() -> ContextFold:
        if isinstance(handle, LiveThread):
            return (await load_context(manager.store, handle.id)).fold
        return folded((await handle.load_history()).items)

    return read
