"""The methods of the server under test."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from threadstore.jsonrpc import Call, Dispatcher, RpcError


class Word(msgspec.Struct):
    """Parameters with one member that must be there."""

    word: str


class Desk:
    """Records what it is asked. ``gate`` lets the waiting methods go on."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.heard: list[str] = []
        self.dispatcher = Dispatcher()
        method = self.dispatcher.method
        method("echo", self.echo, Word)
        method("any", self.any, object)
        method("wait", self.wait, Word)
        method("inLine", self.wait, Word, serial="line")
        method("byWord", self.wait, Word, serial=lambda params: params.word[0])
        method("fail", self.fail, object)
        method("refuse", self.refuse, object)
        method("unsendable", self.unsendable, object)
        method("replyFirst", self.reply_first, object)
        method("question", self.question, object)
        method("lateQuestion", self.late_question, object)
        method("flood", self.flood, object)
        method("large", self.large, int)
        self.dispatcher.notification("hear", self.hear, Word)

    async def echo(self, call: Call, params: Word) -> object:
        return {"word": params.word}

    async def any(self, call: Call, params: object) -> object:
        return params

    async def wait(self, call: Call, params: Word) -> object:
        self.started.append(params.word)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.stopped.append(params.word)
            raise
        return params.word

    async def fail(self, call: Call, params: object) -> object:
        raise KeyError("a secret path")

    async def refuse(self, call: Call, params: object) -> object:
        raise RpcError("no thread", code=-32600, data={"why": "gone"})

    async def unsendable(self, call: Call, params: object) -> object:
        return object()

    async def reply_first(self, call: Call, params: object) -> object:
        await call.connection.notify("before", {"n": 0})
        await call.reply("answer")
        await call.connection.notify("after", {"n": 1}, emitted_at_ms=5)
        raise KeyError("only for the log")

    async def question(self, call: Call, params: object) -> object:
        answer: Any = await call.connection.request("client/ask", {"q": 1}, result=list[int])
        return {"answer": answer}

    async def late_question(self, call: Call, params: object) -> object:
        self.started.append("late")
        await self.gate.wait()
        return await self.question(call, params)

    async def flood(self, call: Call, params: object) -> object:
        try:
            while True:
                await call.connection.notify("drop", {"text": "x" * 1000})
                self.heard.append("sent")
        finally:
            self.stopped.append("stalled")

    async def large(self, call: Call, params: int) -> object:
        return "x" * params

    async def hear(self, call: Call, params: Word) -> None:
        self.heard.append(params.word)
