"""How a turn runs: from the user's input, request by request, until nothing is left to do."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from threadstore.engine.compaction import compact
from threadstore.engine.events import (
    ErrorEvent,
    StreamError,
    TaskComplete,
    TaskStarted,
    TurnAborted,
)
from threadstore.engine.inputs import Said, UserTurn, user_turn
from threadstore.engine.model import ModelError
from threadstore.engine.sampling import Sampling, TurnFacts
from threadstore.engine.turn import Turn, TurnOutcome, TurnResult
from threadstore.errors import InvalidRequest, StoreUnavailable, ThreadStoreError
from threadstore.history.items import RolloutItem
from threadstore.history.turns import TurnError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from threadstore.engine.journal import Entry
    from threadstore.engine.state import SessionState

__all__ = ["TurnRun"]

Json = dict[str, Any]
T = TypeVar("T")

ABORTED: Final = (
    "<turn_aborted>\nThe user interrupted this turn on purpose. Tools that were running were "
    "stopped and may have done a part of their work.\n</turn_aborted>"
)
_LONGEST_DELAY: Final = 10.0


class TurnRun:
    """Runs one turn and tells how it ended. Made and owned by a session."""

    def __init__(self, state: SessionState, turn: Turn, given: Said | None) -> None:
        """*given* is what the user said; ``None``: the turn only compacts the context."""
        self.turn = turn
        self._state = state
        self._given = given
        self._user: UserTurn | None = None
        self._facts = TurnFacts(turn.id)
        self._steered: list[Said] = []
        self._steerable = given is not None
        self._started = state.clock.monotonic()
        self._work: asyncio.Task[None] | None = None
        self._interrupted = False

    # While it runs

    @property
    def steerable(self) -> bool:
        """Whether it takes more input."""
        return self._steerable

    def steer(self, given: Said) -> None:
        """Take more input into the turn: the model gets it with the next request."""
        if not self._steerable:
            raise InvalidRequest(
                f"turn {self.turn.id} takes no more input", hint="start another turn"
            )
        self._steered.append(given)

    def interrupt(self) -> None:
        """Stop as soon as what there is is kept. Twice is once."""
        self._steerable = False
        if not self._interrupted:
            self._interrupted = True
            if self._work is not None:
                self._work.cancel()

    async def run(self) -> TurnResult:
        """Run it to its end, whatever that is. Raises only what no turn can handle."""
        error: TurnError | None = None
        status: TurnOutcome = "completed"
        try:
            await self._start()
        except ThreadStoreError as failure:
            error = _reason(failure)
            self._state.journal.tell(self._error_event(error))
            return self._result("failed", error)
        self._work = asyncio.create_task(self._do())
        if self._interrupted:
            self._work.cancel()
        await asyncio.wait((self._work,))
        self._steerable = False
        if self._work.cancelled():
            status = "interrupted"
        elif (exception := self._work.exception()) is not None:
            status, error = "failed", _reason(exception)
        error = await self._end(status, error)
        return self._result(status if error is None else "failed", error)

    def unknown_end(self) -> TurnResult:
        """The result if :meth:`run` does not come to an end of its own."""
        return self._result("failed", TurnError(message="the turn did not end", info="other"))

    def _result(self, status: TurnOutcome, error: TurnError | None) -> TurnResult:
        return TurnResult(
            turn_id=self.turn.id,
            status=status,
            last_message=self._facts.last_message,
            usage=self._facts.usage,
            error=error,
        )

    # Its course

    async def _start(self) -> None:
        started = TaskStarted(
            turn_id=self.turn.id,
            started_at=self._state.seconds(),
            model_context_window=self._state.settings.reported_window,
        )
        await self._state.journal.record(started)

    async def _do(self) -> None:
        if self._given is None:
            await self._compact(mid_turn=False)
            return
        user = await self._user_turn(self._given)
        if self._state.is_full(user.message):
            await self._compact(mid_turn=False)
        await self._open()
        while True:
            sampling = await self._sample()
            if not sampling.called_tools and not self._steered:
                self._steerable = False
                return
            if self._state.is_full():
                await self._compact(mid_turn=True)
                if sampling.called_tools:
                    continue  # the model has its outputs first (Codex 0.131)
            await self._take_steered()

    async def _open(self) -> None:
        """What stands before the first request: the context, the settings, what the user said."""
        state, given = self._state, self._given
        if given is None:
            return
        user = await self._user_turn(given)
        opening = state.news_since(state.journal.fold.turn_context or {})
        self._given = None
        context = state.turn_context(self.turn.id)
        await state.journal.record(*opening, context, *self._said(user))
        with suppress(StoreUnavailable):  # it is written; the flush at the end says it again
            await state.journal.handle.persist()

    async def _user_turn(self, given: Said) -> UserTurn:
        """What the turn began with; images are read once."""
        if self._user is None:
            self._user = await self._read(given)
        return self._user

    async def _read(self, given: Said) -> UserTurn:
        if given.reads_files:
            return await asyncio.to_thread(user_turn, given, self.turn.id)
        return user_turn(given, self.turn.id)

    def _said(self, user: UserTurn) -> list[Entry]:
        started = self._state.started(self.turn.id, user.item)
        completed = self._state.completed(self.turn.id, user.item, started.started_at_ms)
        return [RolloutItem("response_item", user.message), started, completed, user.event]

    async def _take_steered(self) -> None:
        while self._steered:
            user = await self._read(self._steered[0])
            del self._steered[0]
            await self._state.journal.record(*self._said(user))

    async def _sample(self) -> Sampling:
        retries = _Retries(self._state, self.turn.id)
        while True:
            sampling = Sampling(self._state, self._facts)
            try:
                await sampling.run(retries.may)
            except ModelError as error:
                await self._note_overflow(error)
                try:
                    await retries.next(error)
                except asyncio.CancelledError:
                    await sampling.keep_half_a_message()
                    raise
            else:
                return sampling

    async def _note_overflow(self, error: ModelError) -> None:
        if error.kind == "context_window_exceeded":
            self._state.tokens.fill_window()
            await self._state.journal.record(self._state.tokens.event(self.turn.id))

    async def _compact(self, *, mid_turn: bool) -> None:
        retries = _Retries(self._state, self.turn.id)
        try:
            await compact(self._state, self._facts, mid_turn=mid_turn, tried=retries.tried)
        except ModelError as error:
            await self._note_overflow(error)
            raise

    # Its end

    async def _end(self, status: TurnOutcome, error: TurnError | None) -> TurnError | None:
        """Keep how it ended; why it failed after all, if that cannot be kept."""
        state = self._state
        try:
            due = state.tokens.take(self.turn.id)  # an interruption may fall on any moment
            if due is not None:
                await state.journal.record(due)
            await self._open()  # what the user said is kept, also if it came to nothing
            await self._take_steered()
            if status == "interrupted":
                await state.journal.record(*self._abort())
            else:
                await state.journal.record(*self._complete(error))
        except ThreadStoreError as failure:
            error = error or _reason(failure)
            state.journal.tell(self._error_event(error))
            return error
        with suppress(StoreUnavailable):  # it is written; the next flush says it again
            await state.journal.handle.flush()
        return error

    def _abort(self) -> list[Entry]:
        content = [{"type": "input_text", "text": ABORTED}]
        message = {"type": "message", "role": "user", "content": content}
        aborted = TurnAborted(
            turn_id=self.turn.id,
            completed_at=self._state.seconds(),
            duration_ms=self._elapsed_ms(self._state.clock.monotonic()),
        )
        return [RolloutItem("response_item", message), aborted]

    def _complete(self, error: TurnError | None) -> list[Entry]:
        facts: Json = {}
        first = self._facts.first_output_at
        if first is not None:
            facts["time_to_first_token_ms"] = self._elapsed_ms(first)
        if error is not None:
            facts["error"] = {"message": error.message, "codex_error_info": error.info}
        complete = TaskComplete(
            turn_id=self.turn.id,
            last_agent_message=None if error is not None else self._facts.last_message,
            completed_at=self._state.seconds(),
            duration_ms=self._elapsed_ms(self._state.clock.monotonic()),
            **facts,
        )
        return [complete] if error is None else [self._error_event(error), complete]

    def _error_event(self, error: TurnError) -> ErrorEvent:
        return ErrorEvent(turn_id=self.turn.id, message=error.message, codex_error_info=error.info)

    def _elapsed_ms(self, until: float) -> int:
        return int((until - self._started) * 1000)


class _Retries:
    """How often one request was tried, and how long to wait before the next time."""

    def __init__(self, state: SessionState, turn_id: str) -> None:
        self._state = state
        self._turn_id = turn_id
        self._count = 0

    def may(self, error: ModelError) -> bool:
        """Whether the request is tried again after *error*."""
        settings = self._state.settings
        if error.retry_after is not None and error.retry_after > settings.max_retry_after:
            return False
        return error.retryable and self._count < settings.max_retries

    async def next(self, error: ModelError) -> None:
        """Wait until it may be tried again; raises *error* if it may not."""
        if not self.may(error):
            raise error
        settings = self._state.settings
        delay = min(settings.retry_delay * 2**self._count, _LONGEST_DELAY)
        self._count += 1
        told = StreamError(
            turn_id=self._turn_id,
            message=f"Reconnecting... {self._count}/{settings.max_retries}",
            codex_error_info=error.info,
            additional_details=error.message,
        )
        self._state.journal.tell(told)
        wait = error.retry_after
        await asyncio.sleep(delay * random.uniform(0.9, 1.1) if wait is None else wait)

    async def tried(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What *ask* gives, tried as often as the settings say."""
        while True:
            try:
                return await ask()
            except ModelError as error:
                await self.next(error)


def _reason(failure: BaseException) -> TurnError:
    if isinstance(failure, ModelError):
        return TurnError(message=failure.message, info=failure.info)
    if isinstance(failure, ThreadStoreError):
        return TurnError(message=failure.message, info=failure.code)
    return TurnError(message=f"{type(failure).__name__}: {failure}", info="other")
