"""What makes Codex drop a header or leave its thread out of lists, and the header without that.

Codex reads a ``session_meta`` line as a whole: one field of a wrong shape costs the line (0.131 to
0.169). Here it costs the field.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from threadstore.clock import rfc3339_ms
from threadstore.history.items import RolloutItem
from threadstore.ids import try_thread_id
from threadstore.metadata import StoredThread

__all__ = ["header_faults", "is_strict", "mend_header"]

_REQUIRED_TEXTS: Final = ("timestamp", "cwd", "originator", "cli_version")
_OPTIONAL_TEXTS: Final = (
    "thread_source",
    "model_provider",
    "agent_nickname",
    "agent_role",
    "agent_path",
    "memory_mode",
)
_OPTIONAL_IDS: Final = ("session_id", "forked_from_id", "parent_thread_id")
_MULTI_AGENT: Final = ("disabled", "v1", "v2")
_SUBAGENTS: Final = ("review", "compact", "memory_consolidation")
_WORDS: Final = ("cli", "vscode", "exec", "mcp", "unknown")
"""Codex reads any other word as ``unknown``, which its lists leave out by default."""
_SHOWN: Final = 60


def header_faults(payload: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each field that Codex refuses, and why."""
    if not _is_id(payload.get("id")):
        yield "id", "is not a UUID"
    yield from _texts_and_ids(payload)
    if "source" in payload and not _is_source(payload["source"]):
        yield "source", "is of an unknown kind"
    if payload.get("history_mode", "legacy") not in ("legacy", "paginated"):
        yield "history_mode", f"is {_short(payload['history_mode'])}"
    if payload.get("multi_agent_version") not in (None, *_MULTI_AGENT):
        yield "multi_agent_version", f"is {_short(payload['multi_agent_version'])}"
    for field in ("base_instructions", "git"):
        if payload.get(field) is not None and not isinstance(payload[field], dict):
            yield field, "is no object"


def _texts_and_ids(payload: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for field in _REQUIRED_TEXTS:
        if not isinstance(payload.get(field), str):
            yield field, "is missing" if payload.get(field) is None else "is no text"
    for field in _OPTIONAL_TEXTS:
        if payload.get(field) is not None and not isinstance(payload[field], str):
            yield field, "is no text"
    for field in _OPTIONAL_IDS:
        if payload.get(field) is not None and not _is_id(payload[field]):
            yield field, "is not a UUID"


def mend_header(
    item: RolloutItem, thread: StoredThread, *, first: bool
) -> tuple[bytes, list[str]] | None:
    """The line without what Codex refuses, and what was changed; ``None`` if nothing has to be.

    Every other field keeps its bytes. What must be there says what *thread* is known to be; what
    need not be there goes. Only the *first* header of a thread gets another id.
    """
    payload = item.payload
    if not isinstance(payload, dict) or item.raw is None:
        return None
    faults = dict(header_faults(payload))
    if "id" in faults and not first:
        return None  # nobody knows whose it is
    readable = is_strict(item.raw)
    line, fields = _split(item.raw, payload, strict=readable)
    if readable and not faults:
        return None
    reasons = [] if readable else ["written anew: Codex could not decode its text"]
    known = _known(thread)
    for field, reason in faults.items():
        if field in known:
            fields[field] = known[field]
            reasons.append(f"{field} {reason}: now {_short(known[field])}")
        else:
            del fields[field]
            reasons.append(f"{field} {reason}: taken out")
    return msgspec.json.encode({**line, "payload": fields}), reasons


def _known(thread: StoredThread) -> dict[str, Any]:
    """What a header must say, as far as the rest of the home knows it."""
    known = {
        "id": thread.id,
        "timestamp": rfc3339_ms(thread.created_at),
        "cwd": thread.cwd,
        "originator": thread.originator or "",
        "cli_version": thread.cli_version,
        "history_mode": thread.history_mode,
    }
    # Without a source the thread counts as one of an editor, which lists show.
    return known if thread.source == "unknown" else {**known, "source": thread.source}


def is_strict(raw: bytes) -> bool:
    """Whether the line is JSON as Codex reads it; we take half a surrogate pair, too."""
    try:
        msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return False
    return True


def _split(
    raw: bytes, payload: dict[str, Any], *, strict: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The line and its payload key by key: as they stand, or decoded if they are not *strict*."""
    if strict:
        line = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        return line, msgspec.json.decode(line["payload"], type=dict[str, msgspec.Raw])
    item = RolloutItem.parse(raw)
    outer = {"timestamp": item.timestamp, "ordinal": item.ordinal, "type": item.type}
    return {key: value for key, value in outer.items() if value is not None}, dict(payload)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and try_thread_id(value) is not None


def _is_source(source: Any) -> bool:
    if isinstance(source, str):
        return source in _WORDS
    if not isinstance(source, dict) or len(source) != 1:
        return False
    ((kind, value),) = source.items()
    if kind == "subagent":
        return value in _SUBAGENTS if isinstance(value, str) else isinstance(value, dict)
    return kind in ("custom", "internal") and isinstance(value, str)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
