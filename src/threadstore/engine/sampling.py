"""One request to the model, and everything it brings about."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from threadstore.engine.events import (
    AgentMessageDelta,
    ItemCompleted,
    ReasoningDelta,
    ReasoningRawContentDelta,
)
from threadstore.engine.model import (
    Completed,
    ItemDone,
    ModelError,
    RateLimits,
    TextDelta,
    answer,
)
from threadstore.engine.model import ItemStarted as OutputStarted
from threadstore.engine.model import ReasoningDelta as OutputReasoning
from threadstore.engine.outputs import (
    CALLS,
    kept_item,
    mended,
    message_text,
    partial_message,
    told_of,
    turn_item,
)
from threadstore.engine.tool_schema import BadArguments, any_arguments
from threadstore.engine.tools import ToolCall, ToolOutput, aborted
from threadstore.errors import ThreadStoreError
from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.metadata import TokenUsage

if TYPE_CHECKING:
    from collections.abc import Callable

    from threadstore.engine.model import ModelEvent
    from threadstore.engine.state import SessionState

__all__ = ["Sampling", "TurnFacts"]

Json = dict[str, Any]


class TurnFacts:
    """What a turn learns from its requests, one after the other."""

    def __init__(self, turn_id: str) -> None:
        self.id = turn_id
        self.usage = TokenUsage()
        self.last_message: str | None = None
        self.first_output_at: float | None = None
        """By the monotonic clock."""


class _Call:
    """A tool call on its way."""

    def __init__(self, item: Json, shown: Json, started: float) -> None:
        self.item = item
        self.shown = shown
        self.started = started
        self.started_at_ms = 0
        self.task: asyncio.Task[ToolOutput] | None = None
        self.settled = False
        self.kept = False

    def output(self, output: str | list[Json]) -> RolloutItem:
        kind = "custom_tool_call_output" if self.item["type"] == "custom_tool_call" else None
        payload = {
            "type": kind or "function_call_output",
            "call_id": self.item["call_id"],
            "output": output,
        }
        return RolloutItem("response_item", payload)


class Sampling:
    """One request: reads the answer, runs its tools, and tells what it used when all settled."""

    def __init__(self, state: SessionState, turn: TurnFacts) -> None:
        self._state = state
        self._turn = turn
        self._calls: list[_Call] = []
        self._item_id: str | None = None  # of the output item that is being written
        self._text: list[str] = []  # of the message that is being written

    @property
    def called_tools(self) -> bool:
        """Whether the model waits for outputs."""
        return bool(self._calls)

    async def run(self, may_retry: Callable[[ModelError], bool]) -> None:
        """Go through to the end of the answer and of all its tools.

        Raises :class:`ModelError`, and ``CancelledError`` if the turn was interrupted: in both
        cases when everything is kept that there is, and the tokens are counted. Half a message is
        kept unless the request *may be retried*.
        """
        failure: ModelError | None = None
        try:
            try:
                await self._read()
            except ModelError as error:
                failure = error
                if error.kind == "usage_limit_exceeded":
                    self._state.tokens.exhausted()
                if error.usage is not None:
                    await self._book(Completed("", error.usage))
                if not may_retry(error):
                    await self.keep_half_a_message()
            await self._drain()
        except asyncio.CancelledError:
            await self._abandon()
            await self._tell_tokens()
            raise
        finally:
            await self._let_go()
        await self._tell_tokens()
        if failure is not None:
            raise failure

    # Reading

    async def _read(self) -> None:
        state = self._state
        try:
            async with aclosing(answer(state.client, state.request())) as events:
                async for event in events:
                    await self._take(event)
        except (ModelError, ThreadStoreError):
            raise
        except Exception as error:  # what a server says must not cost the outputs of its calls
            raise ModelError(f"{type(error).__name__}: {error}") from error

    async def _take(self, event: ModelEvent) -> None:
        if isinstance(event, RateLimits):
            self._state.tokens.limits(event.snapshot)
            return
        if self._turn.first_output_at is None and not isinstance(event, Completed):
            self._turn.first_output_at = self._state.clock.monotonic()
        match event:
            case OutputStarted():
                self._start_item(mended(event.item))
            case TextDelta():
                self._text.append(event.text)
                self._tell_text(event.text)
            case OutputReasoning():
                self._tell_reasoning(event)
            case ItemDone():
                await self._keep(mended(event.item))
            case Completed():
                await self._book(event)

    def _start_item(self, item: Json) -> None:
        own = item.get("id")
        self._item_id = own if isinstance(own, str) and own else new_thread_id()
        self._text.clear()
        shown = turn_item(item, self._item_id)
        if shown is not None:
            self._state.journal.tell(self._state.started(self._turn.id, shown))

    def _tell_text(self, text: str) -> None:
        if self._item_id is not None:
            self._state.journal.tell(
                AgentMessageDelta(
                    turn_id=self._turn.id,
                    thread_id=self._state.thread_id,
                    item_id=self._item_id,
                    delta=text,
                )
            )

    def _tell_reasoning(self, event: OutputReasoning) -> None:
        if self._item_id is None:
            return
        turn_id, thread_id, item_id = self._turn.id, self._state.thread_id, self._item_id
        told: ReasoningDelta | ReasoningRawContentDelta
        if event.summary:
            told = ReasoningDelta(
                turn_id=turn_id,
                thread_id=thread_id,
                item_id=item_id,
                delta=event.text,
                summary_index=event.index,
            )
        else:
            told = ReasoningRawContentDelta(
                turn_id=turn_id,
                thread_id=thread_id,
                item_id=item_id,
                delta=event.text,
                content_index=event.index,
            )
        self._state.journal.tell(told)

    async def _keep(self, item: Json) -> None:
        """Keep an output item that is complete; start what it asks for."""
        if self._item_id is None:
            self._start_item(item)
        assert self._item_id is not None
        item_id, self._item_id = self._item_id, None
        self._text.clear()
        if item["type"] == "message":
            self._turn.last_message = message_text(item) or self._turn.last_message
        shown = turn_item(item, item_id)
        told = [] if shown is None else [self._state.completed(self._turn.id, shown)]
        events = told_of(item, item_id, self._turn.id)
        await self._state.journal.record(*told, *events, kept_item(item))
        if item["type"] in CALLS:
            self._call(item)

    async def keep_half_a_message(self) -> None:
        """Keep what was said of a message that nobody will complete."""
        text = "".join(self._text)
        self._text.clear()
        if not text or self._item_id is None:
            return
        half = partial_message(text)
        self._turn.last_message = text
        shown = turn_item(half.payload, self._item_id)
        told = [] if shown is None else [self._state.completed(self._turn.id, shown)]
        events = told_of(half.payload, self._item_id, self._turn.id)
        await self._state.journal.record(*told, *events, half)

    # Tools

    def _call(self, item: Json) -> None:
        state = self._state
        custom = item["type"] == "custom_tool_call"
        call = ToolCall(
            call_id=item["call_id"],
            name=item["name"],
            arguments=item["input" if custom else "arguments"],
            namespace=item.get("namespace"),
            thread_id=state.thread_id,
            turn_id=self._turn.id,
            custom=custom,
        )
        running = _Call(item, _shown_call(call), state.clock.monotonic())
        running.started_at_ms = state.milliseconds()
        self._calls.append(running)
        state.journal.tell(state.started(self._turn.id, running.shown))
        running.task = asyncio.create_task(self._run_call(running, call))

    async def _run_call(self, running: _Call, call: ToolCall) -> ToolOutput:
        output = await self._state.toolbox.run(call, self._state.questions)
        running.settled = True
        await self._state.journal.record(self._settled(running, output))
        return output

    def _settled(self, running: _Call, output: ToolOutput) -> ItemCompleted:
        seconds = self._state.clock.monotonic() - running.started
        shown = {
            **running.shown,
            "status": "completed" if output.success else "failed",
            "content_items": _shown_parts(output.output),
            "success": output.success,
            "duration": _duration(seconds),
        }
        return self._state.completed(self._turn.id, shown, running.started_at_ms)

    async def _drain(self) -> None:
        """Wait for all calls; their outputs are kept in the order of the calls."""
        for call in self._calls:
            assert call.task is not None
            output = await asyncio.shield(call.task)
            call.kept = True
            await self._state.journal.record(call.output(output.output))

    async def _abandon(self) -> None:
        """Keep what there is after an interruption: half a message, outputs, aborted calls."""
        await self.keep_half_a_message()
        waiting = [call for call in self._calls if not call.kept]
        for call in waiting:
            if call.task is not None and not call.settled:
                call.task.cancel()
        for call in waiting:
            assert call.task is not None
            await asyncio.wait((call.task,))
            if call.settled:
                await self._state.journal.record(call.output(call.task.result().output))
                continue
            text = aborted(self._state.clock.monotonic() - call.started)
            output = ToolOutput(output=text, success=False)
            await self._state.journal.record(self._settled(call, output), call.output(text))

    async def _let_go(self) -> None:
        """No call outlives its request, also where the history cannot be written any more."""
        tasks = [call.task for call in self._calls if call.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Tokens

    async def _book(self, done: Completed) -> None:
        if done.usage is not None:
            self._turn.usage = self._turn.usage + done.usage
            await self._state.book(done, self._turn.id, self._turn.usage)

    async def _tell_tokens(self) -> None:
        event = self._state.tokens.take(self._turn.id)
        if event is not None:
            await self._state.journal.record(event)


def _shown_call(call: ToolCall) -> Json:
    """The turn's item of a call, while it runs."""
    arguments: Any = call.arguments
    if not call.custom:
        with suppress(BadArguments):
            arguments = any_arguments(call.arguments)
    return {
        "type": "DynamicToolCall",
        "id": call.call_id,
        "namespace": call.namespace,
        "tool": call.name,
        "arguments": arguments,
        "status": "in_progress",
    }


def _shown_parts(output: str | list[Json]) -> list[Json]:
    """An output as items show it: other words than those for the model (Codex 0.131)."""
    if isinstance(output, str):
        return [{"type": "inputText", "text": output}]
    return [
        {"type": "inputImage", "imageUrl": part.get("image_url", "")}
        if part.get("type") == "input_image"
        else {"type": "inputText", "text": part.get("text", "")}
        for part in output
    ]


def _duration(seconds: float) -> Json:
    whole = int(seconds)
    return {"secs": whole, "nanos": int((seconds - whole) * 1e9)}
