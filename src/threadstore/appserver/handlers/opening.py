"""Saying hello; starting, resuming and forking threads; leaving them."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

import msgspec

from threadstore.appserver.loaded import LoadedThread
from threadstore.appserver.params import (
    ForkParams,
    InitializeParams,
    LoadedListParams,
    ResumeParams,
    StartParams,
    ThreadParams,
)
from threadstore.appserver.policies import protocol_sandbox, stored_approval, stored_sandbox
from threadstore.appserver.views import ShownTurns, shown_turns_of, turns_page
from threadstore.appserver.wording import protocol_usage
from threadstore.engine import SessionSettings
from threadstore.errors import InvalidRequest
from threadstore.metadata import NewThread
from threadstore.version import VERSION

if TYPE_CHECKING:
    from threadstore.appserver.audience import OpenThread
    from threadstore.appserver.peers import Peer
    from threadstore.appserver.server import AppServer
    from threadstore.jsonrpc import Call
    from threadstore.metadata import StoredThread

__all__ = ["DIALECT", "register"]

Json = dict[str, Any]

DIALECT = "0.169.0"
"""The Codex release whose protocol is spoken; clients ask for its features by this number."""
MISSING = "no rollout found for thread id {id}"


def register(server: AppServer) -> None:
    """Add the methods of this module."""
    server.method("initialize", initialize, InitializeParams)
    server.method("thread/start", start, StartParams)
    server.method("thread/resume", resume, ResumeParams, missing=MISSING)
    server.method("thread/fork", fork, ForkParams, missing=MISSING)
    server.method("thread/unsubscribe", unsubscribe, ThreadParams)
    server.method("thread/loaded/list", loaded_list, LoadedListParams)


async def initialize(server: AppServer, call: Call, params: InitializeParams) -> Json:
    """The first request of every client."""
    client = params.client_info
    server.peer(call).initialize(params)
    system = f"{platform.system()} {platform.release()}; {platform.machine()}"
    agent = f"{client.name}/{DIALECT} ({system}) threadstore/{VERSION}"
    return {
        "userAgent": f"{agent} ({client.name}; {client.version})",
        "codexHome": server.config.home,
        "platformFamily": "unix" if os.name == "posix" else os.name,
        "platformOs": platform.system().lower(),
    }


async def start(server: AppServer, call: Call, params: StartParams) -> None:
    """A new thread, loaded; nothing is stored before its first turn."""
    peer = server.peer(call)
    settings = _settings(server, params)
    new = NewThread(
        cwd=_cwd(params.cwd) or os.getcwd(),
        source="vscode",
        thread_source=params.thread_source,
        originator=peer.client or "threadstore",
        model_provider=params.model_provider or server.config.provider.id,
        history_mode=params.history_mode or "legacy",
        dynamic_tools=tuple(params.dynamic_tools or ()),
    )
    ephemeral = bool(params.ephemeral)
    from threadstore.engine import Session

    session = await Session.start(
        server.manager,
        new,
        server.client_of(new.model_provider or ""),
        settings=settings,
        tools=server.tools,
        ephemeral=ephemeral,
    )
    thread = server.keep(session, ephemeral=ephemeral)
    thread.join(peer)
    answer = await _opened(server, thread)
    await call.reply(answer)
    peer.tell("thread/started", {"thread": answer["thread"]})


async def resume(server: AppServer, call: Call, params: ResumeParams) -> None:
    """A thread from the store, loaded if it was not; the client follows it from now on."""
    peer = server.peer(call)
    thread_id = await server.named(params.thread_id, params.path)
    if params.history is not None:
        raise InvalidRequest("a history is not taken from clients", hint="resume a stored thread")
    settings = _going_on(server, params, await server.manager.read(thread_id))
    async with server.opening(thread_id):
        thread = await server.open(thread_id, settings)
        thread.join(peer)
    turns = ShownTurns() if params.exclude_turns else await shown_turns_of(server, thread_id)
    answer = await _opened(server, thread, turns)
    page = params.initial_turns_page
    first = None if page is None else await turns_page(server, thread_id, page, cursor=None)
    await peer.told()
    await call.reply(
        {
            **answer,
            "collaborationMode": _collaboration(thread.settings),
            "initialTurnsPage": first,
            "turnsBackwardsCursor": None,
            "itemsBackwardsCursor": None,
        }
    )
    _tell_usage(peer, thread, turns)


def _collaboration(settings: SessionSettings) -> Json:
    """The one way of working together that there is here."""
    chosen = {
        "model": settings.model,
        "reasoning_effort": settings.reasoning_effort,
        "developer_instructions": None,
    }
    return {"mode": "default", "settings": chosen}


def _tell_usage(peer: Peer, thread: OpenThread, turns: ShownTurns) -> None:
    """Whoever gets all turns is told what they used (Codex 0.131 and 0.169)."""
    info = thread.session.token_info if isinstance(thread, LoadedThread) else None
    if turns.last_id is not None and info:
        place = {"threadId": thread.id, "turnId": turns.last_id}
        params = {**place, "tokenUsage": protocol_usage(info)}
        peer.tell("thread/tokenUsage/updated", params)


async def fork(server: AppServer, call: Call, params: ForkParams) -> None:
    """A new thread that continues another, loaded."""
    peer = server.peer(call)
    if params.ephemeral:
        raise InvalidRequest("a fork cannot be ephemeral here", hint="fork it, delete it later")
    source_id = await server.named(params.thread_id, params.path)
    stored = await server.manager.read(source_id)
    from threadstore.engine import Session

    session = await Session.fork(
        server.manager,
        source_id,
        server.client_of(params.model_provider or stored.model_provider),
        cwd=_cwd(params.cwd),
        through_turn=params.last_turn_id,
        before_turn=params.before_turn_id,
        settings=_going_on(server, params, stored),
        tools=server.tools,
    )
    thread = server.keep(session)
    thread.join(peer)
    turns = ShownTurns() if params.exclude_turns else await shown_turns_of(server, session.id)
    answer = await _opened(server, thread, turns)
    await call.reply(answer)
    _tell_usage(peer, thread, turns)
    peer.tell("thread/started", {"thread": {**answer["thread"], "turns": []}})


async def unsubscribe(server: AppServer, call: Call, params: ThreadParams) -> Json:
    """Follow a thread no more."""
    thread = server.loaded.get(server.thread_id(params.thread_id))
    if thread is None:
        return {"status": "notLoaded"}
    left = thread.leave(server.peer(call))
    return {"status": "unsubscribed" if left else "notSubscribed"}


async def loaded_list(server: AppServer, _call: Call, params: LoadedListParams) -> Json:
    """The ids of the loaded threads."""
    ids = sorted(server.loaded)
    if params.cursor is not None:
        ids = [thread_id for thread_id in ids if thread_id > params.cursor]
    page = ids if params.limit is None else ids[: max(params.limit, 1)]
    return {"data": page, "nextCursor": page[-1] if len(page) < len(ids) else None}


async def _opened(server: AppServer, thread: OpenThread, turns: ShownTurns | None = None) -> Json:
    settings = thread.settings
    stored = await thread.read()
    cwd = settings.cwd or stored.cwd
    return {
        "thread": {**server.shown(stored), "turns": turns.turns if turns else []},
        "model": settings.model,
        "modelProvider": stored.model_provider,
        "serviceTier": None,
        "disabledPluginIds": [],
        "cwd": cwd,
        "runtimeWorkspaceRoots": [cwd],
        "instructionSources": [],
        "approvalPolicy": settings.approval_policy,
        "approvalsReviewer": "user",
        "sandbox": protocol_sandbox(settings.sandbox_policy),
        "activePermissionProfile": None,
        "reasoningEffort": settings.reasoning_effort,
        "multiAgentMode": "explicitRequestOnly",
    }


def _settings(
    server: AppServer, params: StartParams | ResumeParams | ForkParams, *, resumed: bool = False
) -> SessionSettings:
    """The settings of a session: what the client says, else the thread's, else the server's."""
    config = server.config
    if params.model_provider not in (None, *(provider.id for provider in config.providers)):
        raise InvalidRequest(
            f"failed to load configuration: Model provider `{params.model_provider}` not found",
            hint="describe it in model_providers",
        )
    model = params.model or (None if resumed else config.model)
    if model is None and not resumed:
        raise InvalidRequest(
            "no model is configured", hint='start the server with --config model="…"'
        )
    known = {
        "instructions": params.base_instructions or (None if resumed else config.instructions),
        "developer_instructions": params.developer_instructions or config.developer_instructions,
        "reasoning_effort": None if resumed else config.reasoning_effort,
        "cwd": _cwd(params.cwd) if resumed else None,
        "context_window": config.context_window,
        "compact_at": config.compact_at,
        "max_retries": config.max_retries,
    }
    settings = SessionSettings(
        model=model,
        approval_policy=stored_approval(params.approval_policy) or config.approval_policy,
        sandbox_policy=stored_sandbox(params.sandbox or config.sandbox_mode),
    )
    return msgspec.structs.replace(
        settings, **{key: value for key, value in known.items() if value is not None}
    )


def _going_on(
    server: AppServer, params: ResumeParams | ForkParams, stored: StoredThread
) -> SessionSettings:
    """The settings of a session on a thread that exists: the server's model if it names none."""
    settings = _settings(server, params, resumed=True)
    if settings.model is None and stored.model is None:
        settings = msgspec.structs.replace(settings, model=server.config.model)
    return settings


def _cwd(given: str | None) -> str | None:
    return None if given is None else os.path.abspath(given)
