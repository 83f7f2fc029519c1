"""What a peer asks: each request a task, and what becomes of it its answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw

from threadstore.jsonrpc.errors import (
    ConnectionClosed,
    InternalError,
    InvalidRequest,
    Overloaded,
    RequestCancelled,
    RpcError,
)
from threadstore.jsonrpc.limits import Limits, Load
from threadstore.jsonrpc.messages import (
    Notification,
    Request,
    RequestId,
    Response,
    encode,
    encode_error,
)
from threadstore.jsonrpc.outbox import Outbox

if TYPE_CHECKING:
    from threadstore.jsonrpc.connection import Connection

__all__ = ["Call", "Calls", "Handle"]

_log: Final = logging.getLogger("threadstore.jsonrpc")
_ABSENT: Final = Raw(b"null")


class Call:
    """A request or notification at work. *id* is ``None`` for a notification."""

    def __init__(self, connection: Connection, message: Request | Notification) -> None:
        self.connection = connection
        self.method = message.method
        self.id = message.id if isinstance(message, Request) else None
        self.params: Raw = _ABSENT if message.params is UNSET else message.params
        self.is_answered = self.id is None

    async def reply(self, result: object) -> None:
        """Answer now and go on: for what must be told after the answer.

        What the handler returns is not sent then, and an error that it raises is only logged.
        """
        assert not self.is_answered, "answered already"
        answer = self.encode(result)
        self.is_answered = True
        await self.connection.send(answer)

    def encode(self, result: object) -> bytes:
        """The answer that holds *result*."""
        assert self.id is not None
        return encode(Response(self.id, result))


Handle: TypeAlias = Callable[[Call], Awaitable[object]]
"""Works on a call and returns its result: a :class:`~threadstore.jsonrpc.Dispatcher`."""

_Task: TypeAlias = asyncio.Task[bytes | None]


class _CancelParams(msgspec.Struct):
    id: RequestId


class Calls:
    """The calls of one connection: they start in the order they come and run side by side."""

    def __init__(self, handle: Handle, outbox: Outbox, limits: Limits, load: Load) -> None:
        self._handle = handle
        self._outbox = outbox
        self._limits = limits
        self._load = load
        self._running: dict[_Task, Call] = {}
        self._by_id: dict[RequestId, _Task] = {}

    def start(self, call: Call) -> None:
        """Begin *call*, or refuse it."""
        full = (
            len(self._running) >= self._limits.running
            or self._load.running >= self._limits.server_running
        )
        if call.id is not None and self._unanswered(call.id):
            self._refuse(call, InvalidRequest("Invalid request: a request with this id is running"))
        elif full:
            self._refuse(call, Overloaded())
        else:
            task = asyncio.create_task(self._work(call), name=call.method)
            self._running[task] = call
            self._load.running += 1
            if call.id is not None:
                self._by_id[call.id] = task
            task.add_done_callback(self._ended)

    def cancel(self, params: Any) -> None:
        """Stop the request whose id is in *params*, if it still runs."""
        try:
            asked = msgspec.json.decode(b"" if params is UNSET else params, type=_CancelParams)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if task := self._unanswered(asked.id):
            task.cancel()

    async def settle(self, grace: float) -> None:
        """Wait *grace* seconds for what runs, then stop it."""
        if self._running and grace > 0:
            await asyncio.wait([*self._running], timeout=grace)
        self.stop()
        if self._running:
            await asyncio.wait([*self._running])

    def stop(self) -> None:
        """Cancel all that runs."""
        for task in self._running:
            task.cancel()

    def _unanswered(self, request_id: RequestId) -> _Task | None:
        task = self._by_id.get(request_id)
        return None if task is None or self._running[task].is_answered else task

    def _refuse(self, call: Call, error: RpcError) -> None:
        if call.id is None:
            _log.warning("dropped a notification %s: %s", call.method, error.message)
        else:
            self._outbox.put(encode_error(call.id, error))

    async def _work(self, call: Call) -> bytes | None:
        result = await self._handle(call)
        return None if call.is_answered else call.encode(result)

    def _ended(self, task: _Task) -> None:
        """Send what became of it. A callback, for it sees every way in which a task can end."""
        call = self._running.pop(task)
        self._load.running -= 1
        if call.id is not None and self._by_id.get(call.id) is task:
            del self._by_id[call.id]
        error = _error_of(task, call)
        if error is None:
            if answer := task.result():
                self._outbox.put(answer)
        elif not call.is_answered and call.id is not None:
            self._outbox.put(encode_error(call.id, error))


def _error_of(task: _Task, call: Call) -> RpcError | None:
    if task.cancelled():
        return RequestCancelled()
    error = task.exception()
    if error is None:
        return None
    if isinstance(error, RpcError) and not call.is_answered:
        return error
    if isinstance(error, (ConnectionClosed, RpcError)):
        _log.debug("%s ended: %s", call.method, error)
        return RequestCancelled()
    _log.error("%s failed", call.method, exc_info=error)
    return InternalError()
