"""A proxy between a store and its server that can cut the line at the worst moment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Listens on a socket in *folder* and passes everything on to the server in *target*."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder = folder
        self._target = target
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._pass = 0
        self._swallow = 0
        self.cuts = 0
        self.shut = False
        """Whether new connections are refused."""

    def cut_at_next_answer(self, times: int = 1, *, after: int = 0) -> None:
        """The next answer of the server, or the one *after* so many, never arrives, and the
        connection is gone."""
        self._swallow, self._pass = times, after

    async def __aenter__(self) -> Self:
        path = str(self.folder / SOCKET)
        self._server = await asyncio.start_unix_server(self._connect, path)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for line in self._lines:
            line.close()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.shut:
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_unix_connection(str(self._target / SOCKET))
        pair = (writer, there_writer)
        self._lines.update(pair)
        for source, target, answers in (
            (reader, there_writer, False),
            (there_reader, writer, True),
        ):
            pump = asyncio.create_task(self._pump(source, target, pair, answers=answers))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        *,
        answers: bool,
    ) -> None:
        try:
            while data := await source.read(1 << 16):
                if answers and self._swallow and self._pass:
                    self._pass -= 1
                elif answers and self._swallow:
                    self._swallow -= 1
                    self.cuts += 1
                    break
                target.write(data)
                await target.drain()
        except ConnectionError:
            pass
        finally:
            for line in pair:
                line.close()
                self._lines.discard(line)
