"""One peer: what it is told and asked, what it asks, and how the two part."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Hashable
from typing import Any, Final, TypeVar, overload
from weakref import WeakValueDictionary

import msgspec
from msgspec import UNSET, Raw

from threadstore.jsonrpc.calls import Call, Calls, Handle
from threadstore.jsonrpc.errors import ConnectionClosed, InvalidRequest, RpcError
from threadstore.jsonrpc.framing import TooLarge
from threadstore.jsonrpc.limits import Limits, Load
from threadstore.jsonrpc.messages import (
    ErrorAnswer,
    Malformed,
    Notification,
    Request,
    RequestId,
    Response,
    encode,
    encode_error,
    parse,
)
from threadstore.jsonrpc.outbox import Outbox
from threadstore.jsonrpc.transports import Close, Transport

__all__ = ["Connection"]

R = TypeVar("R")

_log: Final = logging.getLogger("threadstore.jsonrpc")
_FLUSH_SECONDS: Final = 1.0
"""For what is queued to leave, after the time for what runs."""


class Connection:
    """Serves one peer with *handle*, and asks and tells it things.

    *cancel_method*: the notification ``{"id": …}`` by which the peer stops a request of its own.
    Codex (0.169) has none; this is the one of the Language Server Protocol. ``None``: none.
    """

    def __init__(
        self,
        transport: Transport,
        handle: Handle,
        *,
        limits: Limits | None = None,
        load: Load | None = None,
        cancel_method: str | None = "$/cancelRequest",
    ) -> None:
        limits = limits or Limits()
        self._transport = transport
        self._cancel_method = cancel_method
        self._outbox = Outbox(limits)
        self._calls = Calls(handle, self._outbox, limits, load or Load())
        self._asked: dict[RequestId, asyncio.Future[Raw | Exception]] = {}
        self._ids = itertools.count()
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[Close] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._hears = True
        self._closing: Close | None = None
        self._grace = limits.grace_seconds

    async def notify(
        self, method: str, params: object = UNSET, *, emitted_at_ms: int | None = None
    ) -> None:
        """Tell the peer; return when there is room for more. Raises :class:`ConnectionClosed`."""
        emitted = UNSET if emitted_at_ms is None else emitted_at_ms
        await self.send(encode(Notification(method, params, emitted)))

    async def send(self, message: bytes) -> None:
        """Send an encoded message, in the order of the calls; else as :meth:`notify`."""
        self._check_open()
        self._outbox.put(message)
        await self._outbox.room()

    @overload
    async def request(self, method: str, params: object = ...) -> Any: ...

    @overload
    async def request(self, method: str, params: object = ..., *, result: type[R]) -> R: ...

    async def request(self, method: str, params: object = UNSET, *, result: Any = Any) -> Any:
        """Ask the peer and wait for its answer, decoded as *result*.

        Raises :class:`RpcError` with the peer's error, or for an answer of another shape, and
        :class:`ConnectionClosed` if none can come any more. An answer to a caller that was
        cancelled is dropped.
        """
        if not self._hears:
            raise ConnectionClosed("no answer can come any more")
        request_id = next(self._ids)
        message = encode(Request(method, request_id, params))
        self._asked[request_id] = asyncio.get_running_loop().create_future()
        try:
            await self.send(message)
            answer = await self._asked[request_id]
        finally:
            del self._asked[request_id]
        if isinstance(answer, Exception):
            raise answer
        try:
            return msgspec.json.decode(answer, type=result)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"Invalid answer to {method}: {error}") from None

    def lock(self, key: Hashable) -> asyncio.Lock:
        """This connection's lock of that name, for as long as somebody holds on to it."""
        return self._locks.setdefault(key, asyncio.Lock())

    def close(self, reason: Close = Close.DONE, *, grace: float = 0.0) -> None:
        """Read no more; stop after *grace* seconds what still runs, and let :meth:`run` end."""
        if self._closing is None:
            self._closing, self._grace = reason, grace
            loop = asyncio.get_running_loop()
            self._timers = [
                loop.call_later(grace, self._calls.stop),
                loop.call_later(grace + _FLUSH_SECONDS, self._give_up),
            ]
            if self._reader is not None:
                self._reader.cancel()

    def _give_up(self) -> None:
        if self._writer is not None:
            self._writer.cancel()

    async def run(self) -> None:
        """Serve until the peer ends it, is gone or is too slow, or until :meth:`close`."""
        reader = self._reader = asyncio.create_task(self._read())
        writer = self._writer = asyncio.create_task(self._outbox.run(self._transport))
        if self._closing is not None:
            reader.cancel()
        reason = Close.DONE
        try:
            await asyncio.wait([reader, writer], return_when=asyncio.FIRST_COMPLETED)
            reader.cancel()
            await asyncio.wait([reader])
            self._forget_questions()
            heard = self._transport.is_open and not writer.done()
            await self._calls.settle(self._grace if heard else 0.0)
            self._outbox.finish()
            await asyncio.wait([writer])
            reason = self._closing or writer.result()
        finally:
            reader.cancel()
            writer.cancel()
            self._calls.stop()
            for timer in self._timers:
                timer.cancel()
            await self._transport.close(reason)
        if reader.done() and not reader.cancelled():
            reader.result()

    def _forget_questions(self) -> None:
        self._hears = False
        for future in self._asked.values():
            if not future.done():
                future.set_result(ConnectionClosed("no answer can come any more"))

    def _check_open(self) -> None:
        if self._outbox.is_closed or not self._transport.is_open:
            raise ConnectionClosed("the peer is gone")

    async def _read(self) -> None:
        async for raw in self._transport:
            self._receive(raw)
            await self._outbox.room()
            await asyncio.sleep(0)  # what was asked starts before the next is read

    def _receive(self, raw: bytes | TooLarge) -> None:
        if isinstance(raw, TooLarge):
            self._refuse(Malformed(f"a message has at most {raw.limit} bytes"))
            return
        try:
            message = parse(raw)
        except Malformed as error:
            self._refuse(error)
            return
        match message:
            case Notification() if message.method == self._cancel_method:
                self._calls.cancel(message.params)
            case Request() | Notification():
                self._calls.start(Call(self, message))
            case Response():
                self._answered(message.id, message.result)
            case ErrorAnswer(error=problem):
                data = None if problem.data is UNSET else problem.data
                error_ = RpcError(problem.message, code=problem.code, data=data)
                self._answered(message.id, error_)
            case None:
                _log.debug("passed over what is not JSON: %d bytes", len(raw))

    def _refuse(self, error: Malformed) -> None:
        self._outbox.put(encode_error(error.id, error))

    def _answered(self, request_id: RequestId | None, answer: Raw | Exception) -> None:
        future = None if request_id is None else self._asked.get(request_id)
        if future is None or future.done():
            _log.debug("passed over an answer to nothing")
        else:
            future.set_result(answer)
