"""A session that is taken up again after any line goes on as the one that wrote it would have."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests import golden_homes
from tests.engine.helpers import (
    SETTINGS,
    USAGE,
    Gated,
    add,
    boom,
    gate,
    going_on,
    history,
    managed,
    reply,
    resumed,
    said,
    say,
    started,
    turns,
)
from tests.engine.moments import Moment, MomentStore, check_pairs

from threadstore.engine import Session
from threadstore.engine.model import ModelError, ModelRequest
from threadstore.errors import InvalidRequest
from threadstore.factory import open_store
from threadstore.manager import ThreadManager
from threadstore.metadata import TokenUsage
from threadstore.testing.scripted_model import Call, Failed, Pause, Reply, Say, Think, rate_limits

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]

LIMITED: Final = msgspec.structs.replace(SETTINGS, compact_at=1000)
BIG: Final = TokenUsage(input_tokens=2000, output_tokens=10, total_tokens=2010)
ADD: Final = Call("add", {"a": 1, "b": 2})
NO: Final = ModelError("no", kind="bad_request", http_status=400)


class Actor:
    """Plays steps on a session: whole turns of every kind, and what comes between them."""

    def __init__(self, session: Session, script: list[Reply], slow: Gated) -> None:
        self.session = session
        self._script = script
        self._slow = slow

    async def play(self, step: str) -> None:
        """One step; what cannot be done just now is left out."""
        try:
            await getattr(self, step)()
        except InvalidRequest:
            pass
        self._script.clear()

    async def _turn(self, *replies: Reply) -> None:
        self._script[:] = [*replies, *[reply(Say("more"))] * 3]
        await say(self.session, "asked")

    async def plain(self) -> None:
        await self._turn(reply(Think("**Hm**"), Say("Hello"), rate_limits=rate_limits(3)))

    async def tools(self) -> None:
        calls = reply(Think("**Hm**"), ADD, Call("boom"), Call("nobody"))
        await self._turn(calls, reply(Say("look"), ADD), reply(Say("done")))

    async def full(self) -> None:
        await self._turn(reply(Say("look"), ADD, usage=BIG))

    async def filled(self) -> None:
        await self._turn(reply(Say("much"), usage=BIG))

    async def quiet(self) -> None:
        await self._turn(Reply(Say("uncounted"), usage=None))

    async def failed(self) -> None:
        await self._turn(*[Reply(ADD, Say("half", chunk=2), cut_after=1)] * 3)

    async def refused(self) -> None:
        await self._turn(Reply(error=NO))

    async def overflow(self) -> None:
        await self._turn(Reply(Failed("context_length_exceeded")))

    async def steered(self) -> None:
        pause = gate()
        self._script[:] = [reply(pause, Say("a"), ADD), reply(Say("b")), *[reply(Say("c"))] * 3]
        turn = await self.session.start_turn("asked")
        await _until(_event(pause), turn.result())
        if not turn.done:
            await self.session.steer("steered")
            pause.gate.set()
        await turn.result()

    async def cut_in_stream(self) -> None:
        pause = gate()
        half = Reply(ADD, Say("half", chunk=2), pause, usage=None)
        self._script[:] = [half, *[reply(Say("c"))] * 3]
        await self._cut(_event(pause))

    async def cut_in_half(self) -> None:
        pause = gate()
        self._script[:] = [reply(Think("**Hm**"), ADD, pause), *[reply(Say("c"))] * 3]
        await self._cut(_event(pause))

    async def cut_in_tool(self) -> None:
        self._slow.begun.clear()
        self._script[:] = [reply(ADD, Call("slow"), ADD), *[reply(Say("c"))] * 3]
        await self._cut(self._slow.begun)

    async def cut_at_once(self) -> None:
        self._script[:] = [reply(Say("c"))] * 3
        await self.session.start_turn("asked")
        await self.session.interrupt()

    async def _cut(self, moment: asyncio.Event) -> None:
        turn = await self.session.start_turn("asked")
        await _until(moment, turn.result())
        if not turn.done:
            await self.session.interrupt()
        await turn.result()

    async def compact(self) -> None:
        self._script[:] = [reply(Say("summary"))]
        await (await self.session.compact()).result()

    async def compact_in_vain(self) -> None:
        self._script[:] = [Reply(error=NO)]
        await (await self.session.compact()).result()

    async def back(self) -> None:
        await self.session.revert(turns=1)

    async def far_back(self) -> None:
        await self.session.revert(turns=3)

    async def forth(self) -> None:
        await self.session.redo()


STEPS: Final = sorted(
    name
    for name, value in vars(Actor).items()
    if not name.startswith("_") and name != "play" and callable(value)
)


def _event(pause: Pause) -> asyncio.Event:
    assert isinstance(pause.reached, asyncio.Event)
    return pause.reached


async def _until(moment: asyncio.Event, result: Awaitable[Any]) -> None:
    """Wait for *moment*, or until the turn is over without it."""
    waits = [asyncio.ensure_future(moment.wait()), asyncio.ensure_future(result)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)


async def played(steps: Sequence[str], mode: str) -> list[Moment]:
    """The moments of a session that plays *steps*."""
    store, script, slow = MomentStore(), list[Reply](), Gated()
    tools = [add, boom, slow.tool]

    def next_reply(_: ModelRequest) -> Reply:
        return script.pop(0)

    async with managed(store) as manager:
        session, _ = await started(
            manager, next_reply, tools=tools, settings=LIMITED, history_mode=mode
        )
        store.session = session
        actor = Actor(session, script, slow)
        for step in steps:
            await actor.play(step)
        store.take()
        store.session = None
        await session.close()
    return store.moments


@asynccontextmanager
async def taken_up(moment: Moment, lines: int | None = None) -> AsyncIterator[tuple[Any, Any]]:
    """A session on what a moment left, and its model."""
    async with managed(moment.store(lines=lines)) as manager:
        (thread_id,) = manager.store._logs  # type: ignore[attr-defined]
        tools = [add, boom, Gated().tool]
        # The first turn says the model in its second step only.
        known = any(item.type == "turn_context" for item in await history(manager, thread_id))
        model_name = None if known else LIMITED.model
        session, model = await resumed(
            manager,
            thread_id,
            lambda _: reply(Say("ok")),
            tools=tools,
            settings=msgspec.structs.replace(going_on(LIMITED), model=model_name),
        )
        yield session, model
        await session.close()


async def check(moment: Moment) -> None:
    """A restart at *moment* makes no difference."""
    async with taken_up(moment) as (session, model):
        assert session._state.request() == moment.request
        if moment.idle:
            assert session._state.is_full() == moment.full
            tokens = session._state.tokens
            counters = (tokens.total, tokens.last, tokens.rate_limits, tokens.window)
            assert counters == moment.counters
            assert session.usage == moment.usage
        for turn in await turns(session._manager, session.id):
            assert turn.status == moment.ended.get(turn.id, "interrupted")
        result = await say(session, "again")
        assert result.status == "completed"
        sent = model.requests[0].input
        assert sent[: len(moment.request.input)] == moment.request.input
        for request in model.requests:
            check_pairs(request.input)
        assert said(model.requests[-1])[-1] == "again"
        last = (await turns(session._manager, session.id))[-1]
        assert (last.id, last.status) == (result.turn_id, "completed")


LONG = [
    *("plain", "tools", "steered", "cut_in_stream", "cut_in_tool", "compact", "tools"),
    *("back", "forth", "far_back", "forth", "plain", "back", "plain", "full", "failed", "overflow"),
    *("plain", "cut_in_half", "compact_in_vain", "filled", "cut_at_once", "refused", "plain"),
]


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_after_every_append_a_restart_makes_no_difference(mode: str) -> None:
    moments = await played(LONG, mode)
    assert len(moments) > 100
    for moment in moments:
        await check(moment)


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_after_every_line_a_thread_can_be_taken_up(mode: str) -> None:
    """Also where a crash left a part of what was written in one go."""
    moments = await played(LONG[:14], mode)
    for moment, following in itertools.pairwise(moments):
        for lines in range(moment.lines, following.lines):
            async with taken_up(following, lines) as (session, model):
                assert (await say(session, "again")).status == "completed"
                for request in model.requests:
                    check_pairs(request.input)
                assert said(model.requests[-1])[-1] == "again"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(STEPS), min_size=1, max_size=7),
    st.sampled_from(["legacy", "paginated"]),
)
@example(["overflow", "back"], "legacy")
@example(["plain", "overflow", "compact", "plain"], "paginated")
def test_no_script_makes_a_difference_after_a_restart(steps: list[str], mode: str) -> None:
    async def run() -> None:
        for moment in await played(steps, mode):
            await check(moment)

    asyncio.run(run())


# Real histories


CONTINUED = ("0.29.0", "0.77.0", "0.114.0", "0.131.0", "0.150.1", "0.169.0", "0.169.0-legacy")
"""All the others with ``DEEP=1``."""


@pytest.mark.parametrize("label", golden_homes.LABELS if os.environ.get("DEEP") else CONTINUED)
async def test_every_thread_of_codex_is_continued(label: str, tmp_path: Path) -> None:
    golden = golden_homes.load(label)
    async with managed(open_store(f"local:{golden.unpack(tmp_path)}")) as manager:
        for thread_id in sorted(golden.ids):
            stored = await manager.read(thread_id)
            if stored.archived:
                with pytest.raises(InvalidRequest, match="archived"):
                    await resumed(manager, thread_id, [])
                await manager.unarchive(thread_id)
            before = await _raw(manager, thread_id)
            shown = await turns(manager, thread_id)
            session, model = await resumed(
                manager, thread_id, [reply(Say("Hello"))], settings=SETTINGS
            )
            sent = session._state.request().input
            total = session._state.tokens.total
            counted = 0 if total is None else total.total_tokens
            if stored.token_usage is not None:
                assert counted == stored.token_usage.total_tokens
            result = await say(session, "a word from elsewhere")
            assert (result.status, result.last_message) == ("completed", "Hello")
            assert model.requests[0].input[: len(sent)] == sent
            check_pairs(model.requests[0].input)
            after = await _raw(manager, thread_id)
            assert after.startswith(before)
            assert after.endswith(b"\n")
            now = await turns(manager, thread_id)
            assert [turn.id for turn in now] == [*(turn.id for turn in shown), result.turn_id]
            assert [turn.status for turn in now[:-1]] == [turn.status for turn in shown]
            assert now[-1].status == "completed"
            used = (await session.read()).token_usage
            assert used is not None
            assert used.total_tokens == counted + USAGE.total_tokens
            await session.close()


async def _raw(manager: ThreadManager, thread_id: str) -> bytes:
    return b"".join([chunk async for chunk in manager.store.raw_history(thread_id)])
