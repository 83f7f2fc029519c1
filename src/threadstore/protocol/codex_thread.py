"""A thread and its turns as Codex's v2 protocol writes them (release 0.169).

The mapping knows the data model and no store: the command line prints it with ``--json``, and a
server answers with it. Values are plain ``dict`` and ``list``, ready for any JSON encoder; keys are
complete and in Codex's order, absent facts are ``null``, times are whole unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from threadstore.clock import to_seconds
from threadstore.metadata import GitInfo, Section, SessionSource, StoredThread, source_kind
from threadstore.protocol.codex_items import placed_items, turn_items
from threadstore.protocol.values import camel

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from threadstore.history.turns import StoredTurn, TurnError

__all__ = [
    "JsonObject",
    "placed_entries",
    "protocol_error",
    "protocol_items",
    "protocol_source",
    "protocol_thread",
    "protocol_turn",
]

JsonObject: TypeAlias = dict[str, Any]

NOT_LOADED: Final[JsonObject] = {"type": "notLoaded"}
"""The status of a thread that nobody has open."""


class ListedThread(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
    """The protocol's ``Thread`` as lists have it, of a thread that nobody has open (Codex 0.169).

    Ready for a JSON encoder of msgspec, and made in a fourth of the time of a ``dict``.
    """

    id: str
    environments: list[JsonObject] | None = None
    extra: JsonObject | None
    session_id: str
    forked_from_id: str | None
    attached_to_thread_id: str | None = None
    parent_thread_id: str | None
    preview: str
    ephemeral: bool = False
    section: JsonObject | None
    section_entered_at: int | None
    project_id: str | None
    history_mode: str
    model_provider: str
    model: str | None
    reasoning_effort: str | None
    created_at: int | None
    updated_at: int | None
    recency_at: int | None
    status: JsonObject
    path: str | None
    cwd: str
    cli_version: str
    originator: str | None
    source: SessionSource
    can_accept_direct_input: bool | None = None
    thread_source: str | None
    agent_nickname: str | None
    agent_role: str | None
    git_info: JsonObject | None
    name: str | None
    daybreak_enabled: bool | None
    turns: tuple[JsonObject, ...] = ()


_KEYS: Final = tuple(field.encode_name for field in msgspec.structs.fields(ListedThread))


def listed_thread(thread: StoredThread) -> ListedThread:
    """A thread as lists have it."""
    return ListedThread(
        id=thread.id,
        extra=thread.extra_config,
        session_id=thread.session_id or thread.id,
        forked_from_id=thread.forked_from_id,
        parent_thread_id=thread.parent_thread_id,
        preview=thread.preview,
        section=_section(thread.section),
        section_entered_at=_seconds(thread.section_entered_at),
        project_id=thread.project_id,
        history_mode=thread.history_mode,
        model_provider=thread.model_provider,
        model=thread.model,
        reasoning_effort=thread.reasoning_effort,
        created_at=_seconds(thread.created_at),
        updated_at=_seconds(thread.updated_at),
        recency_at=_seconds(thread.recency_at),
        status=NOT_LOADED,
        path=thread.rollout_path,
        cwd=thread.cwd,
        cli_version=thread.cli_version,
        originator=thread.originator,
        source=protocol_source(thread.source),
        thread_source=thread.thread_source,
        agent_nickname=thread.agent_nickname,
        agent_role=thread.agent_role,
        git_info=_git(thread.git),
        name=thread.name,
        daybreak_enabled=thread.daybreak_enabled,
    )


def protocol_thread(
    thread: StoredThread,
    *,
    turns: Iterable[StoredTurn] = (),
    status: JsonObject = NOT_LOADED,
    environments: list[JsonObject] | None = None,
    ephemeral: bool = False,
    can_accept_direct_input: bool | None = None,
) -> JsonObject:
    """The protocol's ``Thread``. *turns* are left out of lists, as Codex does.

    What only a server knows (*status*, *environments*, *ephemeral*, direct input) has the value
    that Codex 0.169 gives a thread that is on disk and not loaded.
    """
    listed = zip(_KEYS, msgspec.structs.astuple(listed_thread(thread)), strict=True)
    return {
        **dict(listed),
        "environments": environments,
        "ephemeral": ephemeral,
        "status": dict(status),
        "canAcceptDirectInput": can_accept_direct_input,
        "turns": [protocol_turn(turn) for turn in turns],
    }


def protocol_turn(turn: StoredTurn) -> JsonObject:
    """The protocol's ``Turn`` with all its items."""
    return {
        "id": turn.id,
        "rootTurnId": turn.root_turn_id,
        "items": turn_items(turn),
        "itemsView": "full",
        "status": camel(turn.status),
        "error": protocol_error(turn.error),
        "startedAt": _said(turn, "started_at"),
        "completedAt": _said(turn, "completed_at"),
        "durationMs": turn.duration_ms,
    }


def protocol_items(turns: Iterable[StoredTurn]) -> list[JsonObject]:
    """The items of turns as ``thread/items/list`` answers them: in the order of the log."""
    return [entry for _, entry in placed_entries(turns)]


def placed_entries(turns: Iterable[StoredTurn]) -> list[tuple[int, JsonObject]]:
    """The same, each with the position of its first line in the log."""
    placed = [(position, turn.id, item) for turn in turns for position, item in placed_items(turn)]
    placed.sort(key=lambda entry: entry[0])
    return [(position, _entry(turn_id, item)) for position, turn_id, item in placed]


def _entry(turn_id: str, item: JsonObject) -> JsonObject:
    times = {key: item[key] for key in ("startedAtMs", "completedAtMs")}
    return {"turnId": turn_id, "item": item, **times}


def protocol_source(source: SessionSource) -> SessionSource:
    """A source in the protocol's words: ``mcp`` is ``appServer`` there, ``subagent`` ``subAgent``;
    internal and unknown sources are ``unknown`` (Codex 0.131 and 0.169)."""
    if source == "mcp":
        return "appServer"
    if isinstance(source, dict) and "subagent" in source:
        return {"subAgent": source["subagent"]}
    return "unknown" if source_kind(source) in ("internal", "unknown") else source


def _seconds(moment: dt.datetime | None) -> int | None:
    return None if moment is None else to_seconds(moment)


def _said(turn: StoredTurn, name: Literal["started_at", "completed_at"]) -> int | None:
    """A time of the turn, unless only the time of a line tells it: Codex has none then."""
    return None if name in turn.estimated else _seconds(getattr(turn, name))


def _git(git: GitInfo | None) -> JsonObject | None:
    if git is None:
        return None
    return {"sha": git.sha, "branch": git.branch, "originUrl": git.origin_url}


def _section(section: Section | None) -> JsonObject | None:
    if section is None:
        return None
    return {"id": section.id, "name": section.name, "appearance": _appearance(section)}


def _appearance(section: Section) -> JsonObject | None:
    """Icon and colour, which stand in the database as JSON; ``None`` if they make no sense."""
    try:
        return msgspec.json.decode(section.appearance or "null", type=JsonObject | None)
    except msgspec.MsgspecError:
        return None


def protocol_error(error: TurnError | None) -> JsonObject | None:
    """The protocol's ``TurnError``."""
    if error is None:
        return None
    return {
        "message": error.message,
        "codexErrorInfo": _error_info(error.info),
        "additionalDetails": error.details,
        "misalignment": None,
    }


def _error_info(info: Any) -> Any:
    """``usage_limit_exceeded`` on disk is ``usageLimitExceeded`` in the protocol; the protocol has
    no word for ``invalid_prompt`` (Codex 0.169 answers ``other``)."""
    if isinstance(info, dict):
        return {camel(str(key)): _error_info(value) for key, value in info.items()}
    if info == "invalid_prompt":
        return "other"
    return camel(info) if isinstance(info, str) else info
