"""Sessions with scripted models on real stores, and what their histories look like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from threadstore.engine import Event, FunctionTool, Session, SessionSettings, Turn, TurnResult, tool
from threadstore.engine.model import ModelRequest
from threadstore.history.items import RolloutItem
from threadstore.history.turns import StoredTurn, build_turns
from threadstore.manager import ThreadManager
from threadstore.metadata import NewThread, TokenUsage
from threadstore.store import ThreadStore
from threadstore.testing import ManualClock
from threadstore.testing.scripted_model import Pause, Reply, Say, ScriptedModel

Json = dict[str, Any]
Script = Sequence[Reply] | Callable[[ModelRequest], Reply]

SETTINGS = SessionSettings(
    model="m1", developer_instructions="Be brief.", retry_delay=0, max_retries=2, compact_at=0
)
USAGE = TokenUsage(
    input_tokens=100,
    cached_input_tokens=10,
    output_tokens=20,
    reasoning_output_tokens=5,
    total_tokens=120,
)


def usage(times: int) -> TokenUsage:
    """:data:`USAGE` so many times."""
    counters = msgspec.structs.asdict(USAGE)
    return TokenUsage(**{name: counter * times for name, counter in counters.items()})


def reply(*parts: Any, **options: Any) -> Reply:
    """A reply that uses :data:`USAGE`."""
    return Reply(*parts, **{"usage": USAGE, **options})


def gate() -> Pause:
    """A pause of a reply, to be awaited by ``reached`` and let go by ``gate``."""
    return Pause(asyncio.Event(), asyncio.Event())


async def reached(pause: Pause) -> None:
    """Wait until the stream has come to *pause*."""
    assert isinstance(pause.reached, asyncio.Event)
    await pause.reached.wait()


class Gated:
    """A tool that begins, and ends when it is told to."""

    def __init__(self, name: str = "slow", *, parallel: bool = True) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

        async def wait() -> str:
            """Wait."""
            self.begun.set()
            await self.go_on.wait()
            return f"{name} is done"

        self.tool: FunctionTool = tool(name=name, parallel=parallel)(wait)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def boom() -> str:
    """Fail."""
    raise ValueError("went wrong")


async def started(
    manager: ThreadManager,
    script: Script,
    *,
    tools: Sequence[Any] = (),
    settings: SessionSettings = SETTINGS,
    ephemeral: bool = False,
    **new: Any,
) -> tuple[Session, ScriptedModel]:
    """A session on a new thread, and its model."""
    model = ScriptedModel(script)
    session = await Session.start(
        manager,
        NewThread(**{"cwd": "/a", **new}),
        model,
        settings=settings,
        tools=tools,
        ephemeral=ephemeral,
        clock=ManualClock(),
    )
    return session, model


async def resumed(
    manager: ThreadManager, thread_id: str, script: Script, **options: Any
) -> tuple[Session, ScriptedModel]:
    """A session on a thread that exists, and its model; its context is read already."""
    model = ScriptedModel(script)
    options = {"settings": going_on(), "clock": ManualClock(), **options}
    session = await Session.resume(manager, thread_id, model, **options)
    await session._state.journal.catch_up()
    return session, model


async def forked(manager: ThreadManager, thread_id: str, **options: Any) -> Session:
    """A session on a fork of the thread, whose model always answers the same."""
    model = ScriptedModel(lambda _: reply(Say("forked")))
    session = await Session.fork(
        manager, thread_id, model, settings=going_on(), clock=ManualClock(), **options
    )
    await session._state.journal.catch_up()
    return session


def going_on(settings: SessionSettings = SETTINGS) -> SessionSettings:
    """*settings* with what a thread says by itself left out."""
    return msgspec.structs.replace(settings, model=None, instructions=None)


@asynccontextmanager
async def managed(store: ThreadStore) -> AsyncIterator[ThreadManager]:
    """A manager of *store*, open for the while."""
    async with store, ThreadManager(store, clock=ManualClock()) as manager:
        yield manager


async def say(session: Session, text: str) -> TurnResult:
    """One whole turn."""
    return await (await session.start_turn(text)).result()


async def told(turn: Turn) -> list[Event]:
    """Every event of *turn*."""
    return [event async for event in turn]


async def booked(session: Session, times: int = 1) -> None:
    """Wait until so many responses are counted; nothing tells of that."""
    while session.usage.total.total_tokens < USAGE.total_tokens * times:  # noqa: ASYNC110
        await asyncio.sleep(0)


def types(events: Sequence[Event]) -> list[str]:
    """The types of *events*."""
    return [event.payload()["type"] for event in events]


async def history(source: ThreadManager | ThreadStore, thread_id: str) -> tuple[RolloutItem, ...]:
    """All readable lines of the thread."""
    store = source.store if isinstance(source, ThreadManager) else source
    return (await store.load_history(thread_id)).items


async def outline(source: ThreadManager | ThreadStore, thread_id: str) -> list[str]:
    """The lines of a thread in words, without its header: see :func:`word`."""
    items = await history(source, thread_id)
    return [word(item) for item in items if item.type != "session_meta"]


def word(item: RolloutItem) -> str:
    """A line in a word: ``ri:user``, ``function_call``, ``token_count``, ``done:UserMessage``."""
    payload = item.payload
    if item.type not in ("event_msg", "response_item"):
        return item.type
    if payload["type"] == "message":
        return f"ri:{payload['role']}"
    if payload["type"] == "item_completed":
        return f"done:{payload['item']['type']}"
    prefix = "ri:" if payload["type"] == "reasoning" else ""
    return f"{prefix}{payload['type']}"


async def turns(source: ThreadManager | ThreadStore, thread_id: str) -> list[StoredTurn]:
    """The turns that a cold thread shows."""
    return list(build_turns(await history(source, thread_id)))


async def statuses(source: ThreadManager | ThreadStore, thread_id: str) -> list[str]:
    """How the turns of a cold thread ended."""
    return [turn.status for turn in await turns(source, thread_id)]


def counts(items: Sequence[RolloutItem]) -> list[Json]:
    """The payloads of all ``token_count`` lines."""
    return [item.payload for item in items if item.kind == "token_count"]


def totals(items: Sequence[RolloutItem]) -> list[int | None]:
    """The total of each ``token_count`` line; ``None`` where nothing was used yet."""
    infos = (payload["info"] for payload in counts(items))
    return [info and info["total_token_usage"]["total_tokens"] for info in infos]


def texts(request: ModelRequest, role: str | None = None) -> list[str]:
    """What a request says in messages (of one *role*), and in outputs of tools."""
    found = []
    for item in request.input:
        if item["type"] == "message" and role in (None, item["role"]):
            found.append("".join(part.get("text", "") for part in item["content"]))
        elif item["type"].endswith("_output") and role is None:
            found.append(item["output"])
    return found


def said(request: ModelRequest) -> list[str]:
    """The texts of a request without those of the opening."""
    return [
        text
        for text in texts(request)
        if text != "Be brief." and not text.startswith("<environment_context>")
    ]
