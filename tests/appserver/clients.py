"""A client of the app server: keeps what it hears, in order, and holds it against the schemas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from tests.appserver.schema import RELEASES, Kind, complaints, is_known

from threadstore.jsonrpc import Close, Transport
from threadstore.jsonrpc.framing import TooLarge

Json = dict[str, Any]
ENOUGH = 30
"""Seconds after which what did not come will not."""


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, method: str, error: Json) -> None:
        super().__init__(f"{method}: {error['message']} ({error['code']})")
        self.message: str = error["message"]
        self.code: int = error["code"]
        self.data: Any = error.get("data")


class Client:
    """One connection. :attr:`heard` is everything, in the order it came."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.heard: list[Json] = []
        self.complaints: list[str] = []
        self.releases: tuple[str, ...] = RELEASES
        """Those whose schemas count for what it hears."""
        self.ended = False
        self._methods: dict[Any, str] = {}
        self._next_id = 0
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    # Asking

    async def initialize(self, name: str = "tests", **capabilities: Any) -> Json:
        """Say hello."""
        answer = await self.ask(
            "initialize",
            clientInfo={"name": name, "version": "1.0"},
            capabilities={"experimentalApi": True, **capabilities},
        )
        await self.send({"method": "initialized"})
        return answer

    async def ask(self, method: str, **params: Any) -> Json:
        """The result of a request; raises :class:`Refused`."""
        answer: Json = await self.answer_to(await self.begin(method, params), method)
        return answer

    async def begin(self, method: str, params: Any = None) -> int:
        """Send a request; its id."""
        self._next_id += 1
        request_id = self._next_id
        self._methods[request_id] = method
        await self.send({"id": request_id, "method": method, "params": params})
        return request_id

    async def answer_to(self, request_id: Any, method: str = "") -> Any:
        """The result of a request that was sent; raises :class:`Refused`."""
        answer = await self.first(lambda message: is_answer(message, request_id))
        if "error" in answer:
            raise Refused(method, answer["error"])
        return answer["result"]

    async def refusal(self, method: str, **params: Any) -> Refused:
        """The error that a request is answered with."""
        try:
            result = await self.ask(method, **params)
        except Refused as error:
            return error
        raise AssertionError(f"{method} was answered: {result}")

    async def send(self, *messages: Any) -> None:
        """Send messages: bytes as they are, everything else as JSON."""
        raw = [each if isinstance(each, bytes) else msgspec.json.encode(each) for each in messages]
        await self.transport.send(raw)

    # Threads and turns

    async def start(self, **params: Any) -> str:
        """The id of a new thread."""
        return str((await self.ask("thread/start", **params))["thread"]["id"])

    async def start_turn(self, thread_id: str, text: str = "hello", **params: Any) -> str:
        """The id of a new turn."""
        given = [{"type": "text", "text": text}]
        answer = await self.ask("turn/start", threadId=thread_id, input=given, **params)
        return str(answer["turn"]["id"])

    async def turn(self, thread_id: str, text: str = "hello", **params: Any) -> Json:
        """A whole turn, as ``turn/completed`` says it."""
        return await self.completed(await self.start_turn(thread_id, text, **params))

    async def completed(self, turn_id: str) -> Json:
        """The turn, when it has ended."""
        note = await self.first(
            lambda m: m.get("method") == "turn/completed" and m["params"]["turn"]["id"] == turn_id
        )
        turn: Json = note["params"]["turn"]
        return turn

    # Hearing

    async def first(self, wanted: Callable[[Json], bool], after: int = 0) -> Json:
        """The first message of that kind after the first *after* ones; waits for it."""

        def found() -> Json | None:
            return next((message for message in self.heard[after:] if wanted(message)), None)

        async with asyncio.timeout(ENOUGH), self._news:
            await self._news.wait_for(lambda: found() or self.ended)
        self.check()
        message = found()
        assert message is not None, f"the connection ended; heard {self.methods()}"
        return message

    async def note(self, method: str, after: int = 0, **params: Any) -> Json:
        """The parameters of a notification or question with that method and those parameters."""
        message = await self.first(
            lambda m: (
                m.get("method") == method
                and all(m["params"].get(key) == value for key, value in params.items())
            ),
            after,
        )
        inner: Json = message["params"]
        return inner

    async def question(self, method: str, after: int = 0) -> Json:
        """A request of the server, with its id."""
        return await self.first(lambda m: m.get("method") == method and "id" in m, after)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until what was heard makes *ready* true."""
        async with asyncio.timeout(ENOUGH), self._news:
            await self._news.wait_for(lambda: ready() or self.ended)
        assert ready(), f"the connection ended; heard {self.methods()}"

    async def settle(self) -> None:
        """Return when everything that was caused so far has been heard."""
        for _ in range(3):
            await self.ask("thread/loaded/list")

    def methods(self, after: int = 0) -> list[str]:
        """The methods of what was heard; ``=method`` for an answer."""
        return [
            message["method"] if "method" in message else f"={self._methods.get(message['id'])}"
            for message in self.heard[after:]
        ]

    def notes(self, method: str, after: int = 0) -> list[Json]:
        """The parameters of all notifications of a method."""
        return [m["params"] for m in self.heard[after:] if m.get("method") == method]

    def check(self) -> None:
        """Fail if the server said something that no schema describes."""
        assert not self.complaints, "\n".join(self.complaints)

    async def close(self) -> None:
        """Be gone."""
        await self.transport.close(Close.DONE)
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        async for raw in self.transport:
            assert not isinstance(raw, TooLarge)
            await self._hear(msgspec.json.decode(raw))
        async with self._news:
            self.ended = True
            self._news.notify_all()

    async def _hear(self, message: Json) -> None:
        self.complaints += self._complaints(message)
        async with self._news:
            self.heard.append(message)
            self._news.notify_all()

    def _complaints(self, message: Json) -> list[str]:
        if "method" in message:
            kind: Kind = "question" if "id" in message else "notification"
            if not is_known(kind, message["method"]):
                return [f"no release knows the {kind} {message['method']}"]
            return complaints(kind, message["method"], message["params"], self.releases)
        method = self._methods.get(message["id"])
        if method is None or "result" not in message:
            return []
        return complaints("answer", method, message["result"], self.releases)


def is_answer(message: Json, request_id: Any) -> bool:
    """Whether *message* answers the request."""
    return "method" not in message and message["id"] == request_id


def in_order(heard: Sequence[str], *wanted: str) -> bool:
    """Whether *wanted* occur in that order, whatever stands between them."""
    rest = iter(heard)
    return all(word in rest for word in wanted)
