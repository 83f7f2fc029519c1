"""One message per line over a pair of file descriptors: standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from threadstore.jsonrpc.errors import ConnectionClosed
from threadstore.jsonrpc.framing import DEFAULT_LIMIT, LineSplitter, TooLarge
from threadstore.jsonrpc.transports import Close, Transport

__all__ = ["StdioTransport"]

T = TypeVar("T")

_CHUNK: Final = 256 * 1024
_NARROW: Final = 64 * 1024
"""What a pipe holds."""
_WIDE: Final = 1024 * 1024


class StdioTransport(Transport):
    """Reads *source* and writes *target*, neither of which it closes.

    They stay blocking, since others share them (a terminal, standard error), and they may be
    files or ``/dev/null``, which an event loop can not wait for: hence a thread for each
    direction. It sleeps in ``poll`` and writes no more than a pipe takes at once, so that
    :meth:`close` ends it whatever the peer does. A pipe that the system lets us open once more
    needs no thread: there and back takes as long as many an answer.
    """

    def __init__(self, source: int = 0, target: int = 1, *, limit: int = DEFAULT_LIMIT) -> None:
        self._source = source
        self._target = target
        self._pipe = _own_end(target, os.O_WRONLY)
        self._inlet = _own_end(source, os.O_RDONLY) if _is_nameless(source) else None
        self._news: asyncio.Future[None] | None = None
        self._limit = limit
        # One thread each: two that wait for the same work are both woken for each piece of it.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="threadstore-stdin")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="threadstore-stdout")
        self._wake, self._waker = os.pipe()
        self._is_open = True
        self._is_closed = False

    @property
    def is_open(self) -> bool:
        return self._is_open

    async def __aiter__(self) -> AsyncIterator[bytes | TooLarge]:
        lines = LineSplitter(self._limit)
        while chunk := await self._next():
            for line in lines.feed(chunk):
                yield line
        for line in lines.finish():
            yield line

    async def send(self, messages: Sequence[bytes]) -> None:
        if not self._is_open:
            raise ConnectionClosed("the output is closed")
        try:
            for data in _lines(messages):
                if rest := self._write_at_once(data):
                    await _in_thread(self._writer, partial(self._write, rest))
        except OSError as error:
            self._is_open = False
            raise ConnectionClosed(f"the output is closed: {error}") from None

    async def close(self, reason: Close = Close.DONE) -> None:  # noqa: ARG002 - nobody to tell
        if not self._is_closed:
            self._stop_waiting()
            self._is_closed, self._is_open = True, False
            os.close(self._waker)
            self._wake_up()
            self._reader.shutdown()
            self._writer.shutdown()
            os.close(self._wake)
            for own in (self._pipe, self._inlet):
                if own is not None:
                    os.close(own)

    async def _next(self) -> bytes:
        """What has come; nothing at the end."""
        if self._inlet is None:
            return await _in_thread(self._reader, self._read)
        while await self._has_news(self._inlet):
            try:
                return os.read(self._inlet, _CHUNK)
            except BlockingIOError:  # somebody else has read it
                continue
            except OSError:
                break
        return b""

    async def _has_news(self, inlet: int) -> bool:
        """Wait for some; not if the transport was closed first."""
        if not self._is_closed:
            loop = asyncio.get_running_loop()
            self._news = loop.create_future()
            loop.add_reader(inlet, self._wake_up)
            try:
                await self._news
            finally:
                self._stop_waiting()
        return not self._is_closed

    def _stop_waiting(self) -> None:
        if self._inlet is not None and not self._is_closed:
            asyncio.get_running_loop().remove_reader(self._inlet)

    def _wake_up(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _read(self) -> bytes:
        while self._wait(self._source, select.POLLIN):
            try:
                return os.read(self._source, _CHUNK)
            except BlockingIOError:  # somebody else made it non-blocking, and read
                continue
            except OSError:
                break
        return b""

    def _write_at_once(self, data: bytes) -> memoryview:
        """What is left of *data* after as much as there is room for: a thread, for which both sides
        would wait, is only needed for the rest."""
        left = memoryview(data)
        if self._pipe is not None:
            if len(data) > _NARROW:
                _widen(self._pipe)
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._pipe, left) :]
        return left

    def _write(self, left: memoryview) -> None:
        target, most = self._target, select.PIPE_BUF
        if self._pipe is not None:
            target, most = self._pipe, _CHUNK
        while left:
            if not self._wait(target, select.POLLOUT):
                raise BrokenPipeError
            try:
                left = left[os.write(target, left[:most]) :]
            except BlockingIOError:
                continue

    def _wait(self, fd: int, event: int) -> bool:
        """Whether *fd* is ready; not if the transport was closed first."""
        poll = select.poll()
        poll.register(fd, event)
        poll.register(self._wake, select.POLLIN)
        ready = dict(poll.poll())
        return self._wake not in ready


async def _in_thread(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(thread, work)


def _lines(messages: Sequence[bytes]) -> Sequence[bytes]:
    """What is written: all at once, unless copying takes longer than writing once more."""
    if len(messages) == 1 and len(messages[0]) > _WIDE:
        return [messages[0], b"\n"]
    return [b"\n".join([*messages, b""])]


def _widen(pipe: int) -> None:
    """Have a pipe hold as much as anybody may: a long answer takes fewer turns of both sides."""
    with contextlib.suppress(AttributeError, OSError):  # Linux alone has that, within limits
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _WIDE)


def _own_end(fd: int, flag: int) -> int | None:
    """The same pipe opened once more, for us alone: that may be non-blocking, and gives or takes at
    once whatever there is. ``None`` if it is no pipe, or the system has no such way."""
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            return os.open(f"/proc/self/fd/{fd}", flag | os.O_NONBLOCK | os.O_CLOEXEC)
    return None


def _is_nameless(fd: int) -> bool:
    """Whether it is a pipe without a name. Opening one that has a name, and that all who wrote to
    it have left, would begin a wait for others."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
    return False
