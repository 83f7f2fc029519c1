from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from collections.abc import Awaitable

import pytest
from tests.engine.tool_calls import Owner, call_of, output_of

from threadstore.engine.tools import Tool, Toolbox, ToolCall, ToolOutput, tool


async def test_a_thread_sees_the_call_and_the_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("seen")

    def look(call: ToolCall) -> list[str]:
        assert threading.current_thread() is not threading.main_thread()
        return [call.call_id, call.turn_id, variable.get()]

    assert (await output_of(look)).output == '["call_look","turn","seen"]'


class Stage:
    """Tools that say when they start and end when they are told."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.may_end: dict[str, asyncio.Event] = {}

    def tool(self, name: str, *, parallel: bool) -> Tool:
        self.may_end[name] = asyncio.Event()

        async def act() -> None:
            self.log.append(f"+{name}")
            await self.may_end[name].wait()
            self.log.append(f"-{name}")

        return tool(name=name, parallel=parallel)(act)

    async def settle(self) -> list[str]:
        for _ in range(10):
            await asyncio.sleep(0)
        log, self.log = self.log, []
        return log


async def test_calls_run_side_by_side_except_those_that_run_alone() -> None:
    stage = Stage()
    names = {"a": True, "b": True, "alone": False, "c": True, "d": True}
    box = Toolbox(stage.tool(name, parallel=parallel) for name, parallel in names.items())
    runs = {name: asyncio.create_task(box.run(call_of(name), Owner())) for name in names}
    assert await stage.settle() == ["+a", "+b"]
    stage.may_end["b"].set()
    assert await stage.settle() == ["-b"]
    stage.may_end["a"].set()
    assert await stage.settle() == ["-a", "+alone"]
    stage.may_end["alone"].set()
    assert await stage.settle() == ["-alone", "+c", "+d"]
    stage.may_end["c"].set()
    stage.may_end["d"].set()
    assert all(output.success for output in await asyncio.gather(*runs.values()))


async def test_a_call_that_is_cancelled_while_it_waits_holds_up_nobody() -> None:
    stage = Stage()
    names = {"a": True, "alone": False, "c": True}
    box = Toolbox(stage.tool(name, parallel=parallel) for name, parallel in names.items())
    runs = {name: asyncio.create_task(box.run(call_of(name), Owner())) for name in names}
    assert await stage.settle() == ["+a"]
    runs["alone"].cancel()
    assert await stage.settle() == ["+c"]
    stage.may_end["a"].set()
    stage.may_end["c"].set()
    await asyncio.gather(runs["a"], runs["c"])
    assert runs["alone"].cancelled()
    again = asyncio.create_task(box.run(call_of("alone"), Owner()))
    assert await stage.settle() == ["-a", "-c", "+alone"]
    again.cancel()
    assert await stage.settle() == []
    assert again.cancelled()


class Blocked:
    """A function that blocks its thread until it is let go, and fails then."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self._thread = threading.current_thread()
        self._end = threading.Event()

    def __call__(self) -> None:
        self._thread = threading.current_thread()
        self.started.set()
        self._end.wait()
        raise ValueError("nobody listens")

    def let_go(self) -> None:
        assert self.started.is_set()
        self._end.set()
        self._thread.join()


async def interrupted(
    box: Toolbox, name: str, started: Awaitable[object], *, twice: bool = False
) -> float:
    """Seconds that the interrupt of a running call takes."""
    run = asyncio.create_task(box.run(call_of(name), Owner()))
    await started
    begin = time.monotonic()
    run.cancel()
    if twice:
        await asyncio.sleep(0)
        run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    return time.monotonic() - begin


async def test_an_interrupted_tool_may_clean_up() -> None:
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def careful() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    assert await interrupted(Toolbox([careful]), "careful", started.wait()) < 0.4
    assert cleaned.is_set()


@pytest.mark.parametrize("twice", [False, True])
async def test_a_tool_that_will_not_be_interrupted_is_left_alone(
    twice: bool, caplog: pytest.LogCaptureFixture
) -> None:
    started, end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @tool(parallel=False)
    async def stubborn() -> None:
        started.set()
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        raise ValueError("nobody listens")

    box = Toolbox([stubborn, tool(name="next")(lambda: "runs")])
    assert await interrupted(box, "stubborn", started.wait(), twice=twice) < (0.4 if twice else 2)
    assert (await box.run(call_of("next"), Owner())).output == "runs"
    gc.collect()
    end.set()
    await ended.wait()
    await asyncio.sleep(0)
    gc.collect()
    assert not caplog.records


async def test_a_thread_that_never_ends_holds_up_nothing() -> None:
    blocked = Blocked()
    endless = tool(name="endless", parallel=False)(blocked)
    box = Toolbox([endless, tool(name="next")(lambda: "runs")])
    assert await interrupted(box, "endless", asyncio.to_thread(blocked.started.wait)) < 0.4
    assert (await box.run(call_of("next"), Owner())).output == "runs"
    blocked.let_go()


def test_a_loop_that_is_gone_does_not_trouble_a_thread() -> None:
    blocked = Blocked()
    output = asyncio.run(output_of(tool(name="late", timeout=0.01)(blocked)))
    assert not output.success
    blocked.let_go()


async def test_a_tool_whose_time_is_up_is_told_to_the_model() -> None:
    async def slow() -> None:
        await asyncio.Event().wait()

    blocked = Blocked()
    for function in (slow, blocked):
        output = await output_of(tool(name="slow", timeout=0.01)(function))
        text = "error: slow did not end within 0.01 s; try with less"
        assert output == ToolOutput(output=text, success=False)
    blocked.let_go()


async def test_a_time_out_does_not_count_the_wait_for_others() -> None:
    stage = Stage()

    @tool(timeout=1e-6)
    async def quick() -> str:
        return "in time"

    box = Toolbox([stage.tool("alone", parallel=False), quick])
    first = asyncio.create_task(box.run(call_of("alone"), Owner()))
    second = asyncio.create_task(box.run(call_of("quick"), Owner()))
    assert await stage.settle() == ["+alone"]
    assert not second.done()
    stage.may_end["alone"].set()
    assert (await second).output == "in time"
    await first
