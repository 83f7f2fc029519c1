"""Agents that get killed. Run as a program by ``test_kills.py``.

Reads one round per line of its input, as JSON: which thread an agent works on, and when it dies.
The agent is forked off, so that hundreds of rounds are affordable; what it and a rival said until
they were killed comes back as one line of JSON.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from threadstore import Conflict, InvalidRequest, NewThread, ThreadManager, ThreadMetadataPatch
from threadstore.engine import (
    AgentMessageDelta,
    Event,
    Model,
    ModelError,
    ModelRequest,
    Session,
    SessionSettings,
    TaskStarted,
    ToolCall,
    tool,
)
from threadstore.engine.model import Completed, ModelEvent
from threadstore.factory import open_store
from threadstore.history.policy import persists
from threadstore.metadata import HistoryMode, TokenUsage
from threadstore.testing.scripted_model import Call, Reply, Say, ScriptedModel, Think

Json = dict[str, Any]
Tell = Callable[..., None]

WINDOW = 20_000
SETTINGS = SessionSettings(
    model="m-1", retry_delay=0, context_window=WINDOW, compact_at=1_500, reasoning_effort="low"
)
_CALLS = frozenset({"function_call", "function_call_output"})


class Round(msgspec.Struct, kw_only=True):
    """One life of an agent."""

    url: str
    thread: str | None
    """The thread to go on with; ``None``: a new one."""
    mode: HistoryMode
    number: int
    """Makes all that is said in this life unlike what was said in others."""
    lines: int
    """How much the agent says before it is killed."""
    micros: int
    """And how long it lives then."""
    steps: int | None = None
    """After so many steps it ends by itself, if it still lives."""
    rival: bool = False
    """Whether another process renames the thread meanwhile, and writes whenever it may."""


class Served:
    """A model whose answers depend on the request alone, and their counters on nothing else."""

    def __init__(self, number: int, tell: Tell) -> None:
        self._tell = tell
        self.served = number * 1_000
        self._tries: set[str] = set()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer, and tell what that costs before anybody knows."""
        if problem := unpaired(list(request.input)):
            self._tell(problem=problem)
        self.served += 1
        usage = TokenUsage(
            input_tokens=900 + 10 * len(request.input),
            output_tokens=20,
            reasoning_output_tokens=self.served,  # by which a response is known again
            total_tokens=920 + 10 * len(request.input),
        )
        model = ScriptedModel([self.answer(request, usage)])
        async for event in model.stream(request):
            if isinstance(event, Completed):
                self._tell(served=self.served, usage=usage)
            await asyncio.sleep(0)
            yield event

    def answer(self, request: ModelRequest, usage: TokenUsage) -> Reply:
        """The answer to *request*."""
        tag = blake2b(msgspec.json.encode(request.input), digest_size=6).hexdigest()
        if not request.tools:
            return Reply(Say(f"summary {tag}"), usage=usage)
        said = _last_word(request)
        chance = random.Random(tag)
        again = tag in self._tries
        self._tries.add(tag)
        if "hang" in said:
            return Reply(Say(f"half of {tag} " * 9), cut_after=3, hang=True)
        if "overflow" in said:
            return Reply(error=ModelError("too long", kind="context_window_exceeded"))
        if "break" in said and not again:
            broken = ModelError("cut", kind="response_stream_disconnected", retryable=True)
            return Reply(Call("add", {"a": 1, "b": 2}, f"c{tag}"), error=broken)
        answered = request.input[-1].get("type") in _CALLS
        fails = "fail" in said
        if fails and (answered or chance.random() < 0.5):
            return Reply(Say(f"not all of {tag} " * 9), cut_after=2, error=ModelError("failed"))
        if not fails and chance.random() < (0.5 if answered else 0.2):
            return Reply(Think(f"about {tag}"), Say(f"says {tag}"), usage=usage)
        names = chance.choices(("add", "slow", "boom", "alone"), k=chance.randint(1, 4))
        calls = [Call(name, {"a": 1, "b": 2}, f"c{tag}{i}") for i, name in enumerate(names)]
        return Reply(Say(f"calls {tag}"), *calls, usage=usage)


def _last_word(request: ModelRequest) -> str:
    messages = (item for item in reversed(request.input) if item.get("role") == "user")
    texts = (item["content"][0]["text"] for item in messages)
    return next((text for text in texts if text.startswith("life ")), "")


def unpaired(items: list[Json]) -> str | None:
    """What is wrong with the calls and outputs of a request."""
    calls = [item["call_id"] for item in items if item["type"] == "function_call"]
    outputs = [item["call_id"] for item in items if item["type"] == "function_call_output"]
    if len({*calls}) != len(calls) or sorted(calls) != sorted(outputs):
        return f"calls {calls} have the outputs {outputs}"
    return None


def _tools(tell: Tell) -> list[Any]:
    @tool
    async def add(a: int, b: int, call: ToolCall) -> str:
        """Add."""
        tell(ran=call.call_id)
        return f"{a + b} {call.call_id}"

    @tool
    async def slow(a: int, b: int, call: ToolCall) -> str:
        """Take a while."""
        tell(ran=call.call_id)
        for _ in range(20):
            await asyncio.sleep(0)
        return "x" * 9_000 + call.call_id

    @tool
    def boom(a: int, b: int) -> str:
        """Fail."""
        raise ValueError("boom")

    @tool(parallel=False)
    async def alone(a: int, b: int) -> str:
        """Wait for the others."""
        await asyncio.sleep(0)
        return "alone"

    return [add, slow, boom, alone]


class Agent:
    """Lives one life."""

    def __init__(self, life: Round, tell: Tell) -> None:
        self._life = life
        self._tell = tell
        self._client: Model = Served(life.number, tell)
        self._tools = _tools(tell)
        self._rng = random.Random(life.number)
        self._said = 0

    async def live(self) -> None:
        """Take steps until it is killed, or has taken as many as it should."""
        async with open_store(self._life.url) as store, ThreadManager(store) as manager:
            async with await self._session(manager) as session:
                self._tell(thread=session.id)
                telling = asyncio.create_task(self._tell_events(session.follow()))
                while self._life.steps is None or self._life.steps > 0:
                    await self._step(session)
                    if self._life.steps is not None:
                        self._life.steps -= 1
            await telling
        self._tell(ended=True)

    async def rival(self) -> None:
        """Rename the thread for ever, and write into it whenever nobody else does."""
        thread_id = self._life.thread
        assert thread_id is not None
        async with open_store(self._life.url) as store, ThreadManager(store) as manager:
            while True:
                name = self._words("name")
                self._tell(naming=name)
                await manager.update_thread_metadata(thread_id, ThreadMetadataPatch(name=name))
                self._tell(named=name)
                try:
                    session = await self._open(manager)
                except Conflict:
                    self._tell(refused=True)
                    continue
                async with session:
                    telling = asyncio.create_task(self._tell_events(session.follow()))
                    await self._turn(session)
                await telling

    async def _session(self, manager: ThreadManager) -> Session:
        while True:
            try:
                return await self._open(manager)
            except Conflict:
                if not self._life.rival:
                    raise

    async def _open(self, manager: ThreadManager) -> Session:
        life = self._life
        client, tools = self._client, self._tools
        if life.thread is not None:
            return await Session.resume(
                manager, life.thread, client, settings=SETTINGS, tools=tools
            )
        new = NewThread(cwd="", history_mode=life.mode)
        return await Session.start(manager, new, client, settings=SETTINGS, tools=tools)

    async def _tell_events(self, events: AsyncIterator[Event]) -> None:
        """Say what is kept, when it is told."""
        async for event in events:
            if persists(event.as_item(), self._life.mode):
                self._tell(event=event.payload(), turn=event.turn_id)

    def _words(self, word: str) -> str:
        self._said += 1
        return f"life {self._life.number} number {self._said} {word}"

    async def _step(self, session: Session) -> None:
        kinds: dict[Callable[[Session], Awaitable[None]], int] = {
            self._turn: 12,
            self._steered: 3,
            self._interrupted: 2,
            self._queued: 1,
            self._compacted: 1,
            self._reverted: 2,
        }
        (step,) = self._rng.choices([*kinds], [*kinds.values()])
        await step(session)

    async def _turn(self, session: Session) -> None:
        (word,) = self._rng.choices(("go", "fail", "break", "overflow"), (20, 3, 3, 1))
        await (await session.start_turn(self._words(word))).result()

    async def _steered(self, session: Session) -> None:
        turn = await session.start_turn(self._words("go"))
        async for event in turn:
            if isinstance(event, TaskStarted):
                await session.steer(self._words("also"))

    async def _interrupted(self, session: Session) -> None:
        turn = await session.start_turn(self._words("hang"))
        async for event in turn:
            if isinstance(event, AgentMessageDelta):
                break
        await session.interrupt()

    async def _queued(self, session: Session) -> None:
        for _ in range(2):
            session.enqueue(self._words("go"))
        await session.wait_idle()

    async def _compacted(self, session: Session) -> None:
        try:
            await (await session.compact()).result()
        except InvalidRequest:  # there is nothing yet
            pass

    async def _reverted(self, session: Session) -> None:
        try:
            await session.revert(turns=self._rng.randint(1, 2))
        except InvalidRequest:  # so many turns there are not
            return
        if self._rng.random() < 0.6:
            self._tell(redo=True)
            await session.redo()


class Child:
    """A process that is forked off and says things in lines of JSON."""

    def __init__(self, work: Callable[[Tell], Awaitable[None]]) -> None:
        self.pipe, writing = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(writing)
        else:
            _become(work, writing)
        self.data = b""
        self.ended = False

    def kill(self) -> list[Json]:
        """End it without a word; what it had said."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        while not self.ended:
            self.read()
        os.close(self.pipe)
        whole = self.data.rpartition(b"\n")[0]
        return [msgspec.json.decode(line) for line in whole.splitlines()]

    def read(self) -> None:
        """What it has said meanwhile; waits for something."""
        chunk = os.read(self.pipe, 1 << 16)
        self.data += chunk
        self.ended = not chunk


def listen(children: Sequence[Child], lines: int, timeout: float | None) -> None:
    """Until the first child has said so many lines, or the time is over."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while not children[0].ended and children[0].data.count(b"\n") < lines:
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        talking = {child.pipe: child for child in children if not child.ended}
        ready = select.select([*talking], [], [], left)[0]
        if not ready:
            return
        for pipe in ready:
            talking[pipe].read()


def _become(work: Callable[[Tell], Awaitable[None]], pipe: int) -> None:
    """Do *work* in this process, and nothing after it."""

    def tell(**facts: Any) -> None:
        data = msgspec.json.encode(facts) + b"\n"
        while data:
            data = data[os.write(pipe, data) :]

    async def run() -> None:
        await work(tell)

    try:
        asyncio.run(run())
    except BaseException:  # noqa: BLE001 - whatever it is, the test shall see it
        tell(problem=traceback.format_exc())
    finally:
        os._exit(0)


def play(life: Round) -> Json:
    """One round: what the agent said, and what its rival."""
    children = [Child(lambda tell: Agent(life, tell).live())]
    if life.rival:
        other = msgspec.structs.replace(life, number=life.number + 5_000)
        children.append(Child(lambda tell: Agent(other, tell).rival()))
    listen(children, life.lines, None if life.lines else life.micros / 1e6)
    listen(children, sys.maxsize, None if life.steps else life.micros / 1e6)
    said = [child.kill() for child in children]
    return {"agent": said[0], "rival": said[1] if life.rival else []}


def main() -> None:
    """Play rounds until there are no more."""
    for line in sys.stdin:
        answer = play(msgspec.json.decode(line, type=Round))
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
