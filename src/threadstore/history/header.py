"""The header of a history (``session_meta``): writing the widest form, reading every form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from threadstore.clock import parse_timestamp, rfc3339_ms
from threadstore.history.items import RolloutItem
from threadstore.ids import try_thread_id
from threadstore.metadata import GitInfo, NewThread, SessionSource

if TYPE_CHECKING:
    import datetime as dt

__all__ = [
    "HeaderView",
    "SegmentBase",
    "is_bare_header",
    "is_header_of",
    "read_header",
    "session_meta_item",
]

_WORDS: Final = frozenset({"cli", "vscode", "exec", "mcp", "unknown"})


class SegmentBase(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the inherited prefix in another rollout (``history_base``, Codex 0.150 on)."""

    thread_id: str
    """The rollout id of the file: the thread's id, unless it is a later segment of the thread."""
    end_ordinal_exclusive: int
    end_byte_offset: int


class HeaderView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A ``session_meta`` payload, field by field. What is missing or of a wrong type is ``None``:
    a bad field costs itself, never the line (Codex drops the whole line)."""

    id: str | None = None
    session_id: str | None = None
    """Since 0.142; earlier the same as ``id``, which a reader may assume."""
    timestamp: dt.datetime | None = None
    """When the thread began, a few ms before the line was written."""
    cwd: str | None = None
    originator: str | None = None
    cli_version: str | None = None
    source: SessionSource | None = None
    """``unknown`` for a word or shape that Codex does not know; ``None``: the line has none
    (before 0.42), which Codex reads as ``vscode``."""
    thread_source: str | None = None
    agent_nickname: str | None = None
    agent_role: str | None = None
    agent_path: str | None = None
    model_provider: str | None = None
    base_instructions: str | None = None
    dynamic_tools: tuple[dict[str, Any], ...] = ()
    memory_mode: str | None = None
    """Absent means enabled. Any word: Codex also writes ``polluted``."""
    history_mode: str | None = None
    """Absent means legacy (before 0.144)."""
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
    """Without credentials; ``None`` if no field is set."""


class _Texts(msgspec.Struct, gc=False):
    """The keys of a ``session_meta`` payload whose values are texts, read in one go."""

    id: str | None = None
    session_id: str | None = None
    timestamp: str | None = None
    cwd: str | None = None
    originator: str | None = None
    cli_version: str | None = None
    thread_source: str | None = None
    agent_nickname: str | None = None
    agent_role: str | None = None
    agent_type: str | None = None
    agent_path: str | None = None
    model_provider: str | None = None
    memory_mode: str | None = None
    history_mode: str | None = None
    forked_from_id: str | None = None
    parent_thread_id: str | None = None
    multi_agent_version: str | None = None
    creator_user_id: str | None = None
    creator_account_id: str | None = None


def _texts(fields: dict[str, Any]) -> _Texts:
    try:
        return msgspec.convert(fields, _Texts)
    except msgspec.ValidationError:
        keys = (key for key in _Texts.__struct_fields__ if isinstance(fields.get(key), str))
        return _Texts(**{key: fields[key] for key in keys})


def read_header(item: RolloutItem) -> HeaderView | None:
    """The view of a ``session_meta`` item; ``None`` for any other item or a payload of no shape."""
    if item.type != "session_meta" or not isinstance(item.payload, dict):
        return None
    fields: dict[str, Any] = item.payload
    texts = _texts(fields)
    spawn = _spawn(fields.get("source"))
    git = fields.get("git")
    instructions = fields.get("base_instructions")
    tools = fields.get("dynamic_tools")
    return HeaderView(
        id=_id(texts.id),
        session_id=_id(texts.session_id),
        timestamp=parse_timestamp(texts.timestamp),
        cwd=texts.cwd or None,
        originator=texts.originator or None,
        cli_version=texts.cli_version or None,
        source=_source(fields),
        thread_source=texts.thread_source or None,
        agent_nickname=texts.agent_nickname or _text(spawn, "agent_nickname"),
        agent_role=texts.agent_role or texts.agent_type or _role(spawn),
        agent_path=texts.agent_path or _text(spawn, "agent_path"),
        model_provider=texts.model_provider or None,
        base_instructions=_text(instructions, "text") if isinstance(instructions, dict) else None,
        dynamic_tools=tuple(tool for tool in tools if isinstance(tool, dict))
        if isinstance(tools, list)
        else (),
        memory_mode=texts.memory_mode or None,
        history_mode=texts.history_mode or None,
        forked_from_id=_id(texts.forked_from_id),
        forked_from_ordinal_exclusive=_count(fields, "forked_from_ordinal_exclusive"),
        parent_thread_id=_id(texts.parent_thread_id) or _thread_id(spawn, "parent_thread_id"),
        subagent_history_start_ordinal=_count(fields, "subagent_history_start_ordinal"),
        history_base=_base(fields.get("history_base")),
        multi_agent_version=texts.multi_agent_version or None,
        creator_user_id=texts.creator_user_id or None,
        creator_account_id=texts.creator_account_id or None,
        has_git=isinstance(git, dict),
        git=_git(git) if isinstance(git, dict) else None,
    )


def is_header_of(item: RolloutItem, thread_id: str) -> bool:
    """Whether *item* is a ``session_meta`` of this very thread (its id in canonical form)."""
    if item.type != "session_meta" or not isinstance(item.payload, dict):
        return False
    return item.payload.get("id") == thread_id or _thread_id(item.payload, "id") == thread_id


def is_bare_header(item: RolloutItem) -> bool:
    """Whether *item* is a header of Codex 0.29 or before, in whose history messages to and from
    the model are all there is: no events, no turn contexts."""
    if item.type != "session_meta" or not isinstance(item.payload, dict):
        return False
    return "cwd" not in item.payload and "cli_version" not in item.payload


def session_meta_item(
    new: NewThread,
    *,
    thread_id: str,
    created_at: dt.datetime,
    cli_version: str,
    model_provider: str | None = None,
    history_base: SegmentBase | None = None,
) -> RolloutItem:
    """The header of a new thread, in the form that the most Codex releases read.

    That is the shape of 0.131 plus ``session_id`` and ``history_mode``, keys in Codex's order.
    *model_provider* stands in for a missing ``new.model_provider``, *cli_version* for a missing
    ``new.cli_version``; *history_base* is the place of ``new.history_base`` in its rollout file.
    The item has no timestamp and, for a paginated thread, no ordinal yet: the store stamps both.
    """
    spawn = _spawn(new.source)
    payload: dict[str, Any] = {
        "session_id": new.session_id or thread_id,
        "id": thread_id,
        "forked_from_id": new.forked_from_id,
        "forked_from_ordinal_exclusive": history_base and history_base.end_ordinal_exclusive,
        # Codex looks for this and for the agent here, not in the source (0.131, 0.142 and later).
        "parent_thread_id": new.parent_thread_id or _thread_id(spawn, "parent_thread_id"),
        "timestamp": rfc3339_ms(created_at),
        "cwd": new.cwd,
        "originator": new.originator,
        "cli_version": new.cli_version or cli_version,
        "source": new.source,
        "thread_source": new.thread_source,
        "agent_nickname": new.agent_nickname or _text(spawn, "agent_nickname"),
        "agent_role": new.agent_role or _role(spawn),
        "agent_path": new.agent_path or _text(spawn, "agent_path"),
        "model_provider": new.model_provider or model_provider,
        "base_instructions": None,
        "dynamic_tools": list(new.dynamic_tools) or None,
        "memory_mode": None if new.memory_mode == "enabled" else new.memory_mode,
        "history_mode": new.history_mode,
        "history_base": history_base and msgspec.structs.asdict(history_base),
        "git": _git_keys(new.git),
    }
    if new.base_instructions is not None:
        payload["base_instructions"] = {"text": new.base_instructions}
    # Codex writes these two even as null, and leaves every other absent field out.
    written = ("model_provider", "base_instructions")
    kept = {key: value for key, value in payload.items() if value is not None or key in written}
    return RolloutItem("session_meta", kept)


def _git_keys(git: GitInfo | None) -> dict[str, str] | None:
    """Git facts under the names they have in a ``session_meta`` line."""
    if git is None or git == GitInfo():
        return None
    named = {"commit_hash": git.sha, "branch": git.branch, "repository_url": git.origin_url}
    return {key: value for key, value in named.items() if value}


def _git(fields: dict[str, Any]) -> GitInfo | None:
    git = GitInfo(
        sha=_text(fields, "commit_hash"),
        branch=_text(fields, "branch"),
        origin_url=_text(fields, "repository_url"),
    )
    return None if git == GitInfo() else git


def _text(fields: dict[str, Any], key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) and value else None


def _role(fields: dict[str, Any]) -> str | None:
    return _text(fields, "agent_role") or _text(fields, "agent_type")  # alias of early releases


def _thread_id(fields: dict[str, Any], key: str) -> str | None:
    value = fields.get(key)
    return try_thread_id(value) if isinstance(value, str) else None


def _id(text: str | None) -> str | None:
    return try_thread_id(text) if text else None


def _count(fields: dict[str, Any], key: str) -> int | None:
    value = fields.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _base(fields: Any) -> SegmentBase | None:
    if not isinstance(fields, dict):
        return None
    thread_id = _thread_id(fields, "thread_id")
    ordinal, offset = _count(fields, "end_ordinal_exclusive"), _count(fields, "end_byte_offset")
    if thread_id is None or ordinal is None or offset is None:
        return None
    return SegmentBase(thread_id=thread_id, end_ordinal_exclusive=ordinal, end_byte_offset=offset)


def _source(fields: dict[str, Any]) -> SessionSource | None:
    if "source" not in fields:
        return None
    source = fields["source"]
    if isinstance(source, str):
        return source if source in _WORDS else "unknown"
    if not isinstance(source, dict) or len(source) != 1:
        return "unknown"
    ((key, value),) = source.items()
    if key == "subagent":
        known = isinstance(value, str | dict)
    else:
        known = key in ("custom", "internal") and isinstance(value, str)
    return source if known else "unknown"


def _spawn(source: Any) -> dict[str, Any]:
    """What the source of a spawned thread says about its agent; empty for other sources."""
    subagent = source.get("subagent") if isinstance(source, dict) else None
    spawn = subagent.get("thread_spawn") if isinstance(subagent, dict) else None
    return spawn if isinstance(spawn, dict) else {}
