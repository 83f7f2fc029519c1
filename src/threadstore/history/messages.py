"""The text of user messages, in every form in which histories hold it."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

__all__ = [
    "BareText",
    "UserText",
    "bare_event",
    "bare_user_text",
    "content_text",
    "user_text",
]

REQUEST_MARKER: Final = "## My request for Codex:"
"""What editor extensions put between the context they add and what the user typed."""

_IMAGES: Final = ("images", "local_images", "file_ids")
_AUDIO: Final = ("audio", "local_audio", "audio_references")
_CWD: Final = re.compile(r"<cwd>(.*?)</cwd>", re.DOTALL)


class UserText(NamedTuple):
    """What a user message gives to show."""

    preview: str | None
    """Its text without added context, else ``[Image]`` or ``[Audio]``, else ``None``."""
    title: str | None
    """Its text, never a placeholder."""


class BareText(NamedTuple):
    """What a user's message in the form that went to the model holds: one of the two, or none."""

    text: str | None = None
    """What the user typed."""
    cwd: str | None = None
    """The working directory, from the context message that Codex sends first."""


def user_text(payload: Any) -> UserText:
    """The text of a ``user_message`` event or of a completed ``UserMessage`` item."""
    if not isinstance(payload, dict):
        return UserText(None, None)
    content = payload.get("content")
    if isinstance(content, list):
        kinds = {part.get("type") for part in content if isinstance(part, dict)}
        text = content_text(content)
        image, audio = (
            "image" in kinds or "local_image" in kinds,
            "audio" in kinds or "local_audio" in kinds,
        )
    else:
        message = payload.get("message")
        text = message if isinstance(message, str) else ""
        image = any(payload.get(key) for key in _IMAGES)
        audio = any(payload.get(key) for key in _AUDIO)
    before, marker, after = text.partition(REQUEST_MARKER)
    text = (after if marker else before).strip()
    if text:
        return UserText(text, text)
    return UserText("[Image]" if image else "[Audio]" if audio else None, None)


def content_text(content: Any) -> str:
    """The text of a list of content parts, or of a plain string."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def bare_user_text(payload: Any) -> BareText:
    """What a ``message`` response item of the user says.

    Only histories without events (Codex 0.29 and before) are read this way: elsewhere the events
    say which messages the user typed and which are context.
    """
    if not isinstance(payload, dict) or payload.get("type") != "message":
        return BareText()
    if payload.get("role") != "user":
        return BareText()
    text = content_text(payload.get("content")).strip()
    if text.startswith("<environment_context>"):
        cwd = _CWD.search(text)
        return BareText(cwd=cwd[1].strip() if cwd else None)
    if text.startswith("<user_instructions>"):
        return BareText()
    return BareText(text=user_text({"message": text}).title)


def bare_event(payload: Any) -> dict[str, Any] | None:
    """The event, as Codex 0.131 writes it, that says what a message of a history without events
    says; ``None`` for context and for all that is no message."""
    text = bare_user_text(payload).text
    if text is not None:
        empty: dict[str, Any] = {"images": [], "local_images": [], "text_elements": []}
        return {"type": "user_message", "message": text, **empty}
    if not isinstance(payload, dict) or payload.get("type") != "message":
        return None
    if payload.get("role") != "assistant":
        return None
    text = content_text(payload.get("content"))
    return {"type": "agent_message", "message": text, "phase": None, "memory_citation": None}
