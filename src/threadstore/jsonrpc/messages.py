"""The four messages of JSON-RPC, in the dialect that Codex speaks.

Codex (0.131 to 0.169) writes no ``jsonrpc`` member and accepts one; the ids of requests are strings
or 64-bit integers, echoed as they are; a notification may carry ``emittedAtMs`` beside ``method``
and ``params``; members nobody knows are ignored; there are no batches.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from threadstore.jsonrpc.errors import InvalidRequest, RpcError

__all__ = [
    "ErrorAnswer",
    "Malformed",
    "Message",
    "Notification",
    "Problem",
    "Request",
    "RequestId",
    "Response",
    "encode",
    "encode_error",
    "parse",
]

RequestId: TypeAlias = str | int

_INT64: Final = 1 << 63


class Request(msgspec.Struct, frozen=True):
    """Asks for an answer. *params* is :class:`~msgspec.Raw` JSON in what was parsed."""

    method: str
    id: RequestId
    params: Any = UNSET


class Notification(msgspec.Struct, frozen=True):
    """Asks for nothing. *emitted_at_ms*: when the sender made it, milliseconds since 1970."""

    method: str
    params: Any = UNSET
    emitted_at_ms: int | UnsetType = msgspec.field(default=UNSET, name="emittedAtMs")


class Response(msgspec.Struct, frozen=True):
    """The result of the request with this id (raw JSON in what was parsed)."""

    id: RequestId
    result: Any


class Problem(msgspec.Struct, frozen=True):
    """What went wrong, for programs (*code*, *data*) and for people (*message*)."""

    code: int
    message: str
    data: Any = UNSET


class ErrorAnswer(msgspec.Struct, frozen=True):
    """No result. The id is ``None`` where the request's own could not be read."""

    error: Problem
    id: RequestId | None


Message: TypeAlias = Request | Notification | Response | ErrorAnswer


class _Envelope(msgspec.Struct):
    """Any message, before its shape is checked."""

    id: Any = UNSET
    method: Any = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    emitted_at_ms: Any = msgspec.field(default=UNSET, name="emittedAtMs")


class Malformed(InvalidRequest):
    """JSON, but no message. *id*: the request's, where it has a usable one."""

    def __init__(self, message: str, id: RequestId | None = None) -> None:  # noqa: A002
        super().__init__(f"Invalid request: {message}")
        self.id = id


_decode: Final = msgspec.json.Decoder(_Envelope).decode
_decode_problem: Final = msgspec.json.Decoder(Problem).decode
encode: Final = msgspec.json.Encoder().encode
"""One message as JSON without line breaks."""


def parse(raw: bytes) -> Message | None:
    """The message that *raw* holds; ``None`` if it is not JSON, which Codex passes over.

    Raises :class:`Malformed` for JSON of another shape.
    """
    try:
        envelope = _decode(raw)
    except msgspec.ValidationError:
        raise Malformed("a message is an object") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    except RecursionError:
        raise Malformed("nested too deeply") from None
    if envelope.method is not UNSET:
        return _call(envelope)
    return _answer(envelope)


def _call(envelope: _Envelope) -> Request | Notification:
    has_id = envelope.id is not UNSET
    if has_id and not _is_id(envelope.id):
        raise Malformed("an id is a string or a 64-bit integer")
    if not isinstance(envelope.method, str):
        raise Malformed("a method is a string", envelope.id if has_id else None)
    if has_id:
        return Request(envelope.method, envelope.id, envelope.params)
    emitted = envelope.emitted_at_ms
    return Notification(
        envelope.method, envelope.params, emitted if isinstance(emitted, int) else UNSET
    )


def _answer(envelope: _Envelope) -> Response | ErrorAnswer:
    """The id of an answer is one of ours: it is not echoed if the rest is wrong."""
    has_result, has_error = envelope.result is not UNSET, envelope.error is not UNSET
    if has_result == has_error:
        id_ = envelope.id if _is_id(envelope.id) and not has_result else None
        raise Malformed("neither a method nor either a result or an error", id_)
    if isinstance(envelope.error, Raw):
        if envelope.id is not None and not _is_id(envelope.id):
            raise Malformed("an answer has the id of its request")
        try:
            return ErrorAnswer(_decode_problem(envelope.error), envelope.id)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Malformed("an error has a code and a message") from None
    if not _is_id(envelope.id):
        raise Malformed("an answer has the id of its request")
    return Response(envelope.id, envelope.result)


def _is_id(value: object) -> bool:
    """Exactly these types: a bool is an int to Python."""
    return type(value) is str or (type(value) is int and -_INT64 <= value < _INT64)


def encode_error(request_id: RequestId | None, error: RpcError) -> bytes:
    """The answer that tells *error*."""
    data = UNSET if error.data is None else error.data
    return encode(ErrorAnswer(Problem(error.code, error.message, data), request_id))
