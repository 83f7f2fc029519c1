"""Changing threads: names, metadata, settings, history; archiving and deleting them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from threadstore.appserver.params import (
    ArchiveParams,
    GitInfoChange,
    InjectItemsParams,
    MemoryModeParams,
    MetadataUpdateParams,
    RevertParams,
    RollbackParams,
    SetNameParams,
    SettingsUpdateParams,
    ThreadParams,
    TurnStartParams,
)
from threadstore.appserver.policies import protocol_sandbox, stored_approval, stored_sandbox
from threadstore.appserver.views import turns_of
from threadstore.errors import InvalidRequest, ThreadNotFound
from threadstore.metadata import GitInfoPatch, ThreadMetadataPatch

if TYPE_CHECKING:
    from threadstore.appserver.loaded import LoadedThread
    from threadstore.appserver.server import AppServer
    from threadstore.engine import Session
    from threadstore.jsonrpc import Call

__all__ = ["apply_settings", "register", "tell_settings"]

Json = dict[str, Any]

MISSING = "no rollout found for thread id {id}"


def register(server: AppServer) -> None:
    """Add the methods of this module."""
    server.method("thread/name/set", set_name, SetNameParams, missing=MISSING)
    server.method("thread/metadata/update", update_metadata, MetadataUpdateParams, missing=MISSING)
    server.method("thread/memoryMode/set", set_memory_mode, MemoryModeParams, missing=MISSING)
    server.method("thread/settings/update", update_settings, SettingsUpdateParams)
    server.method("thread/archive", archive, ArchiveParams, missing=MISSING)
    server.method(
        "thread/unarchive",
        unarchive,
        ThreadParams,
        missing="no archived rollout found for thread id {id}",
    )
    server.method("thread/delete", delete, ThreadParams, missing=MISSING)
    server.method("thread/inject_items", inject_items, InjectItemsParams)
    server.method("thread/compact/start", compact, ThreadParams)
    server.method("thread/revert", revert, RevertParams)
    server.method("thread/rollback", rollback, RollbackParams)


async def set_name(server: AppServer, call: Call, params: SetNameParams) -> None:
    """Name a thread, loaded or not."""
    thread_id = server.thread_id(params.thread_id)
    name = params.name.strip()
    if not name:
        raise InvalidRequest("thread name must not be empty")
    await server.manager.update_thread_metadata(thread_id, ThreadMetadataPatch(name=name))
    await call.reply({})
    server.tell_all("thread/name/updated", {"threadId": thread_id, "threadName": name})


async def update_metadata(server: AppServer, _call: Call, params: MetadataUpdateParams) -> Json:
    """Change git facts of a thread, loaded or not, archived or not."""
    thread_id = server.thread_id(params.thread_id)
    git = params.git_info
    if git is None:
        raise InvalidRequest(
            "thread metadata update must include at least one field",
            hint="gitInfo is what can be changed here",
        )
    stored = await server.manager.update_thread_metadata(
        thread_id, ThreadMetadataPatch(git=_git_patch(git)), include_archived=True
    )
    return {"thread": server.shown(stored)}


def _git_patch(change: GitInfoChange) -> GitInfoPatch:
    fields: dict[str, str | None] = {}
    for field, word in (("sha", "sha"), ("branch", "branch"), ("origin_url", "originUrl")):
        value = getattr(change, field)
        if value is msgspec.UNSET:
            continue
        if isinstance(value, str) and not (value := value.strip()):
            raise InvalidRequest(f"gitInfo.{word} must not be empty")
        fields[field] = value
    if not fields:
        raise InvalidRequest("gitInfo must include at least one field")
    return GitInfoPatch(**fields)


async def set_memory_mode(server: AppServer, _call: Call, params: MemoryModeParams) -> Json:
    """Say whether the thread may be remembered."""
    patch = ThreadMetadataPatch(memory_mode=params.mode)
    await server.manager.update_thread_metadata(server.thread_id(params.thread_id), patch)
    return {}


async def update_settings(server: AppServer, call: Call, params: SettingsUpdateParams) -> None:
    """Change the settings of a loaded thread from the next turn on."""
    thread = await server.writer(params.thread_id)
    changed = apply_settings(thread.session, params)
    await call.reply({})
    if changed:
        await tell_settings(thread)


def apply_settings(session: Session, params: SettingsUpdateParams | TurnStartParams) -> bool:
    """Take over what the client says of model, effort, policies …; whether it is anything new."""
    changes: Json = {
        "model": params.model,
        "cwd": params.cwd,
        "approval_policy": stored_approval(params.approval_policy),
        "reasoning_effort": params.effort,
        "reasoning_summary": params.summary,
        "sandbox_policy": None
        if params.sandbox_policy is None
        else stored_sandbox(params.sandbox_policy),
    }
    said = {key: value for key, value in changes.items() if value is not None}
    before = session.settings
    if said:
        session.configure(**said)
    return session.settings != before


async def tell_settings(thread: LoadedThread) -> None:
    """Tell all who follow what holds from now on."""
    settings = thread.session.settings
    stored = await thread.session.read()
    cwd = settings.cwd or stored.cwd
    chosen = {
        "model": settings.model,
        "reasoning_effort": settings.reasoning_effort,
        "developer_instructions": None,
    }
    now = {
        "disabledPluginIds": [],
        "cwd": cwd,
        "environments": [{"environmentId": "local", "cwd": cwd, "runtimeWorkspaceRoots": [cwd]}],
        "approvalPolicy": settings.approval_policy,
        "approvalsReviewer": "user",
        "sandboxPolicy": protocol_sandbox(settings.sandbox_policy),
        "activePermissionProfile": None,
        "model": settings.model,
        "modelProvider": stored.model_provider,
        "serviceTier": None,
        "effort": settings.reasoning_effort,
        "summary": settings.reasoning_summary,
        "collaborationMode": {"mode": "default", "settings": chosen},
        "multiAgentMode": "explicitRequestOnly",
        "personality": None,
    }
    thread.tell("thread/settings/updated", {"threadId": thread.id, "threadSettings": now})


async def archive(server: AppServer, call: Call, params: ArchiveParams) -> None:
    """Archive a thread and those it spawned; loaded ones are closed first."""
    thread_id = server.thread_id(params.thread_id)
    if thread_id in server.loaded:
        loaded = await server.writer(thread_id)
        if loaded.ephemeral:
            raise ThreadNotFound(thread_id)
        await loaded.session.inject([])  # one that was never used would be gone when it closes
    await server.unload(thread_id)
    archived = await server.manager.archive(thread_id)
    await _close(server, archived)
    await server.peer(call).told()
    await call.reply({})
    for each in archived:
        server.tell_all("thread/archived", {"threadId": each})


async def unarchive(server: AppServer, call: Call, params: ThreadParams) -> None:
    """Bring a thread back, and those it spawned."""
    thread_id = server.thread_id(params.thread_id)
    back = await server.manager.unarchive(thread_id)
    stored = await server.manager.read(thread_id)
    await call.reply({"thread": server.shown(stored)})
    for each in back:
        server.tell_all("thread/unarchived", {"threadId": each})


async def delete(server: AppServer, call: Call, params: ThreadParams) -> None:
    """Delete a thread and those it spawned, for good."""
    thread_id = server.thread_id(params.thread_id)
    was_loaded = thread_id in server.loaded
    if was_loaded:
        await server.writer(thread_id)  # refuses one that is written elsewhere
    await server.unload(thread_id)
    try:
        deleted = await server.manager.delete(thread_id)
    except ThreadNotFound:
        if not was_loaded:
            raise
        deleted = (thread_id,)  # it was never stored, and is gone now that it is closed
    await _close(server, deleted)
    await server.peer(call).told()
    await call.reply({})
    for each in deleted:
        server.tell_all("thread/deleted", {"threadId": each})


async def _close(server: AppServer, thread_ids: tuple[str, ...]) -> None:
    for thread_id in thread_ids:
        await server.unload(thread_id)


async def inject_items(server: AppServer, _call: Call, params: InjectItemsParams) -> Json:
    """Put items into the model's context, without a turn."""
    await (await server.writer(params.thread_id)).session.inject(params.items)
    return {}


async def compact(server: AppServer, _call: Call, params: ThreadParams) -> Json:
    """Start a turn that compacts the context."""
    await (await server.writer(params.thread_id)).session.compact()
    return {}


async def revert(server: AppServer, call: Call, params: RevertParams) -> None:
    """Go back to before a turn."""
    thread = await server.writer(params.thread_id)
    await thread.session.revert(before_turn=params.before_turn_id)
    stored = await thread.session.read()
    await call.reply(
        {
            "thread": server.shown(stored),
            "turnsBackwardsCursor": None,
            "itemsBackwardsCursor": None,
        }
    )
    thread.tell("thread/reverted", {"threadId": thread.id})


async def rollback(server: AppServer, _call: Call, params: RollbackParams) -> Json:
    """Go back by a number of turns (clients of Codex up to 0.150)."""
    thread = await server.writer(params.thread_id)
    if params.num_turns < 1:
        raise InvalidRequest("numTurns must be >= 1")
    count = len(await turns_of(server, thread.id))
    if count:
        await thread.session.revert(turns=min(params.num_turns, count))
    stored = await thread.session.read()
    return {"thread": server.shown(stored, await turns_of(server, thread.id))}
