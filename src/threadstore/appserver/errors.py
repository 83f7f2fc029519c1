"""Errors in the protocol's words and codes."""

from __future__ import annotations

from threadstore.errors import (
    Conflict,
    InvalidRequest,
    ThreadNotFound,
    ThreadStoreError,
    Unsupported,
)
from threadstore.jsonrpc import RpcError

__all__ = ["invalid_params", "rpc_error", "unknown_method"]

INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603


def rpc_error(error: ThreadStoreError, missing: str) -> RpcError:
    """The answer that *error* becomes. ``data`` says our own code, and what to do next."""
    data = {"code": error.code, "hint": error.hint}
    if isinstance(error, ThreadNotFound):
        return RpcError(missing.format(id=error.thread_id), code=INVALID_REQUEST, data=data)
    if isinstance(error, Unsupported):
        return RpcError(error.message, code=METHOD_NOT_FOUND, data=data)
    if isinstance(error, InvalidRequest | Conflict):
        return RpcError(error.message, code=INVALID_REQUEST, data=data)
    return RpcError(error.message, code=INTERNAL_ERROR, data=data)


def unknown_method(method: str) -> RpcError:
    """Codex (0.131 to 0.169) calls an unknown method an invalid request, too."""
    return RpcError(f"Invalid request: unknown variant `{method}`", code=INVALID_REQUEST)


def invalid_params(method: str, what: str) -> RpcError:
    """The answer to parameters of another shape."""
    return RpcError(f"Invalid request: {method}: {what}", code=INVALID_REQUEST)
