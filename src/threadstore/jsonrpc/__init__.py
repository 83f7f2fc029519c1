"""JSON-RPC between peers, as Codex speaks it, over four transports. Knows nothing of threads.

See ``README.md`` beside this file for what each module owns.
"""

from __future__ import annotations

from threadstore.jsonrpc.calls import Call
from threadstore.jsonrpc.connection import Connection
from threadstore.jsonrpc.dispatcher import Dispatcher
from threadstore.jsonrpc.errors import (
    ConnectionClosed,
    InternalError,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    MissingExtra,
    Overloaded,
    RequestCancelled,
    RpcError,
)
from threadstore.jsonrpc.limits import Limits
from threadstore.jsonrpc.server import Server
from threadstore.jsonrpc.transports import Close, Listener, Transport

__all__ = [
    "Call",
    "Close",
    "Connection",
    "ConnectionClosed",
    "Dispatcher",
    "InternalError",
    "InvalidParams",
    "InvalidRequest",
    "Limits",
    "Listener",
    "MethodNotFound",
    "MissingExtra",
    "Overloaded",
    "RequestCancelled",
    "RpcError",
    "Server",
    "Transport",
]
