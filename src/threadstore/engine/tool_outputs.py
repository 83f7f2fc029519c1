"""What tools return and raise, as outputs that a model can read and a history can keep."""

from __future__ import annotations

import os
import traceback
from typing import Any, Final

import msgspec

from threadstore.engine.tool_base import ToolOutput
from threadstore.history.policy import cut_middle

__all__ = ["as_output", "bounded", "described", "failure"]

Json = dict[str, Any]
_SHOWN_ERRORS: Final = 8


def failure(text: str) -> ToolOutput:
    """An output that says what went wrong."""
    return ToolOutput(output=f"error: {text}", success=False)


def as_output(result: object) -> ToolOutput:
    """What a function returned: text and outputs as they are, ``None`` as no text, the rest as
    compact JSON. Raises ``TypeError`` for bytes and for what is no JSON value."""
    if isinstance(result, ToolOutput):
        return result
    if result is None or isinstance(result, str):
        return ToolOutput(output=result or "")
    if isinstance(result, (bytes, bytearray, memoryview)):
        raise TypeError("the tool returned bytes, which are not text; it must decode them")
    try:
        return ToolOutput(output=str(msgspec.json.encode(result), "utf-8"))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise TypeError(f"the tool returned what has no JSON form: {error}") from error


def described(error: BaseException) -> str:
    """An exception in one text: its class, its message and those of a group, no traceback."""
    # Not str(error), which is foreign code that may raise as well.
    message = str(traceback.TracebackException(type(error), error, None, limit=0, compact=True))
    if isinstance(error, OSError):
        for path in (error.filename, error.filename2):
            if isinstance(path, str) and os.path.isabs(path):  # where things are is our affair
                message = message.replace(path, os.path.basename(path))
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        text += ": " + "; ".join(map(described, error.exceptions[:_SHOWN_ERRORS]))
    return text


def bounded(output: object, limit: int) -> ToolOutput:
    """*output* with at most *limit* bytes of text, in a form that can be kept and sent.

    Content parts keep their images; if their texts are too long together, they become one text
    that lacks its middle. Raises ``TypeError`` for what is no output at all.
    """
    if not isinstance(output, ToolOutput):
        raise TypeError(f"the tool must return a ToolOutput, not {type(output).__name__}")
    content: object = output.output
    success = bool(output.success)
    if isinstance(content, str):
        return ToolOutput(output=_clipped(content, limit), success=success)
    if not isinstance(content, list):
        raise TypeError(f"an output must be text or a list, not {type(content).__name__}")
    try:
        parts = msgspec.json.decode(msgspec.json.encode(content), type=list[Json])
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise TypeError(f"the tool returned content that has no JSON form: {error}") from error
    for part in parts:
        _check_part(part)
    return ToolOutput(output=_bounded_parts(parts, limit), success=success)


def _bounded_parts(parts: list[Json], limit: int) -> list[Json]:
    texts = [part["text"] for part in parts if part["type"] == "input_text"]
    if sum(len(text.encode()) for text in texts) <= limit:
        return parts
    text = {"type": "input_text", "text": _clipped("\n".join(texts), limit)}
    return [text, *(part for part in parts if part["type"] != "input_text")]


def _check_part(part: Json) -> None:
    """A part that the API refuses would make every later request of the thread fail."""
    kind = part.get("type")
    if not isinstance(kind, str) or not kind.startswith("input_"):
        raise TypeError(f"a content part must be input_text or input_image, not {kind!r}")
    needed = {"input_text": "text", "input_image": "image_url"}.get(kind)
    if needed is not None and not isinstance(part.get(needed), str):
        raise TypeError(f"a content part of type {kind} needs the text {needed}")


def _clipped(text: str, limit: int) -> str:
    """Half of a surrogate pair cannot be written as UTF-8, and so neither kept nor sent."""
    return cut_middle(text, limit).encode("utf-8", "replace").decode()
