"""Errors with a JSON-RPC code, and the one that says that a peer is gone."""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "ConnectionClosed",
    "InternalError",
    "InvalidParams",
    "InvalidRequest",
    "MethodNotFound",
    "MissingExtra",
    "Overloaded",
    "RequestCancelled",
    "RpcError",
]


class RpcError(Exception):
    """An error answer: raised by a handler to send it, raised by ``Connection.request`` to tell it.

    *data* is any JSON value; ``None`` is not written.
    """

    CODE: ClassVar[int] = -32000
    MESSAGE: ClassVar[str] = "Server error"

    def __init__(
        self, message: str | None = None, *, code: int | None = None, data: Any = None
    ) -> None:
        self.code = self.CODE if code is None else code
        self.message = self.MESSAGE if message is None else message
        self.data = data
        super().__init__(f"{self.message} ({self.code})")


class InvalidRequest(RpcError):
    """Not a JSON-RPC message, or one that can not be served as it stands."""

    CODE = -32600
    MESSAGE = "Invalid request"


class MethodNotFound(RpcError):
    """Nobody handles this method."""

    CODE = -32601
    MESSAGE = "Method not found"


class InvalidParams(RpcError):
    """The method's parameters are of another shape."""

    CODE = -32602
    MESSAGE = "Invalid params"


class InternalError(RpcError):
    """Something unexpected happened; the log says what, the peer is not told."""

    CODE = -32603
    MESSAGE = "Internal error"


class Overloaded(RpcError):
    """Too many requests run; nothing was done, trying again later may help.

    Code and message are those of Codex. Its Python SDK 0.163 takes an error for an overload, and
    tries again, only if some value in the data is ``server_overloaded``.
    """

    CODE = -32001
    MESSAGE = "Server overloaded; retry later."

    def __init__(self) -> None:
        super().__init__(data={"errorInfo": "server_overloaded"})


class RequestCancelled(RpcError):
    """The request was stopped before its answer: by its client, or since the server stops."""

    CODE = -32800
    MESSAGE = "Request cancelled"


class ConnectionClosed(ConnectionError):
    """The peer is gone, or is being said goodbye."""


class MissingExtra(ImportError):
    """A transport needs a package that is not installed; the message names the extra."""
