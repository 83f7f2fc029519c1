"""A session: one thread, one model, one turn at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from threadstore.clock import Clock, SystemClock
from threadstore.engine.followers import Followers
from threadstore.engine.inputs import Said, UserInput, said
from threadstore.engine.journal import Journal
from threadstore.engine.loading import LoadedContext
from threadstore.engine.opening import (
    claimed,
    context_reader,
    filled,
    loaded_context,
    offered,
    release,
)
from threadstore.engine.outputs import check_injected
from threadstore.engine.questions import Questions
from threadstore.engine.reverting import redo, revert
from threadstore.engine.run import TurnRun
from threadstore.engine.settings import DEFAULT_INSTRUCTIONS, SessionSettings
from threadstore.engine.state import SessionState
from threadstore.engine.tokens import token_book
from threadstore.engine.tools import Tool, Toolbox
from threadstore.engine.turn import Turn, TurnResult
from threadstore.errors import Conflict, InvalidRequest, ThreadNotFound
from threadstore.history.context import ContextFold
from threadstore.history.header import HeaderView
from threadstore.history.items import RolloutItem
from threadstore.history.usage import UsageLedger
from threadstore.ids import new_thread_id
from threadstore.metadata import ThreadUsage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from types import TracebackType

    from threadstore.engine.events import Event, RequestUserInput, ToolCallRequest
    from threadstore.engine.model import Model
    from threadstore.manager import ThreadHandle, ThreadManager
    from threadstore.metadata import NewThread, StoredThread

__all__ = ["Session"]

Json = dict[str, Any]


class Session:
    """Drives a model through the turns of one thread and keeps every item.

    Made by :meth:`start`, :meth:`resume` or :meth:`fork`; as an async context manager it closes at
    the end. Turns run by themselves: whoever started one may listen to it, wait for it or leave.
    """

    def __init__(
        self,
        manager: ThreadManager,
        handle: ThreadHandle,
        loaded: LoadedContext,
        stored: StoredThread,
        client: Model,
        settings: SessionSettings,
        tools: Iterable[Tool],
        clock: Clock,
    ) -> None:
        """For the three ways to make one."""
        self._manager = manager
        self._followers = Followers()
        self._current: TurnRun | None = None
        self._task: asyncio.Task[None] | None = None
        self._queue: deque[tuple[str, Said]] = deque()
        self._queue_waits = False  # until a turn completes
        self._alone = False
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._settings = settings
        self._tools = tuple(tools)
        self._idle = asyncio.Event()
        self._idle.set()
        questions = Questions(self._tell)
        self._state = SessionState(
            stored=stored,
            journal=Journal(handle, loaded.fold, self._tell, context_reader(manager, handle)),
            client=client,
            settings=settings,
            toolbox=Toolbox(self._tools, output_limit=settings.tool_output_limit),
            questions=questions,
            tokens=token_book(stored.token_usage, loaded.fold, settings.reported_window),
            ledger=UsageLedger(stored.usage, stored.token_usage),
            clock=clock,
            instructions=loaded.header.base_instructions or settings.instructions,
        )

    # Opening

    @classmethod
    async def start(
        cls,
        manager: ThreadManager,
        new: NewThread,
        client: Model,
        *,
        settings: SessionSettings,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        ephemeral: bool = False,
        clock: Clock | None = None,
    ) -> Self:
        """A session on a new thread; nothing is stored before its first turn.

        ``settings.model`` is needed. Tools that ``new.dynamic_tools`` names are run by whoever owns
        the session: see :meth:`answer`. An *ephemeral* thread is never stored at all.
        """
        if settings.model is None:
            raise InvalidRequest("a new thread needs a model", hint="set SessionSettings.model")
        instructions = settings.instructions or new.base_instructions or DEFAULT_INSTRUCTIONS
        settings = msgspec.structs.replace(settings, instructions=instructions)
        new = msgspec.structs.replace(new, base_instructions=instructions)
        toolset = offered(tools, new.dynamic_tools)
        Toolbox(toolset)  # refuses what cannot be before there is a thread
        handle = (
            await manager.create(new, ephemeral=True) if ephemeral else await manager.create(new)
        )
        async with claimed(manager, handle, unload=True):
            loaded = LoadedContext(fold=ContextFold(), header=HeaderView())
            return await cls._on(manager, handle, loaded, client, settings, toolset, clock)

    @classmethod
    async def resume(
        cls,
        manager: ThreadManager,
        thread_id: str,
        client: Model,
        *,
        settings: SessionSettings | None = None,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        clock: Clock | None = None,
    ) -> Self:
        """A session on a thread that exists, whoever wrote it.

        What the model is sent is rebuilt from the history alone, read backwards from the last
        compaction. Model, effort and instructions are the thread's where *settings* leave them out.
        Raises what ``ThreadManager.resume`` raises, and :class:`Conflict` if the thread already has
        a session here.
        """
        known = manager.get(thread_id)
        handle = await manager.resume(thread_id)
        async with claimed(manager, handle, unload=known is None):
            return await cls._continue(manager, handle, client, settings, tools, clock)

    @classmethod
    async def fork(
        cls,
        manager: ThreadManager,
        thread_id: str,
        client: Model,
        *,
        new: NewThread | None = None,
        cwd: str | None = None,
        through_turn: str | None = None,
        before_turn: str | None = None,
        settings: SessionSettings | None = None,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        clock: Clock | None = None,
    ) -> Self:
        """A session on a new thread that continues another; see ``ThreadManager.fork``."""
        Toolbox(offered(tools, ()))  # refuses what cannot be before there is a fork
        handle = await manager.fork(
            thread_id, new, cwd=cwd, through_turn=through_turn, before_turn=before_turn
        )
        async with claimed(manager, handle, unload=True):
            return await cls._continue(manager, handle, client, settings, tools, clock)

    @classmethod
    async def _continue(
        cls,
        manager: ThreadManager,
        handle: ThreadHandle,
        client: Model,
        settings: SessionSettings | None,
        tools: Iterable[Tool | Callable[..., Any]],
        clock: Clock | None,
    ) -> Self:
        loaded = await loaded_context(manager, handle)
        settings = filled(settings or SessionSettings(), loaded, await handle.read())
        toolset = offered(tools, loaded.header.dynamic_tools)
        return await cls._on(manager, handle, loaded, client, settings, toolset, clock)

    @classmethod
    async def _on(
        cls,
        manager: ThreadManager,
        handle: ThreadHandle,
        loaded: LoadedContext,
        client: Model,
        settings: SessionSettings,
        tools: Iterable[Tool],
        clock: Clock | None,
    ) -> Self:
        stored = await handle.read()
        return cls(manager, handle, loaded, stored, client, settings, tools, clock or SystemClock())

    # What it is

    @property
    def id(self) -> str:
        """The thread's id."""
        return self._state.thread_id

    @property
    def settings(self) -> SessionSettings:
        """How it drives its model; what was configured while a turn runs counts from the next."""
        return self._settings

    @property
    def status(self) -> Literal["idle", "active", "closed"]:
        """Whether a turn runs."""
        return "closed" if self._closed else "active" if self._current else "idle"

    @property
    def turn(self) -> Turn | None:
        """The turn that runs."""
        return None if self._current is None else self._current.turn

    @property
    def takes_input(self) -> bool:
        """Whether a turn runs that can be steered."""
        return self._current is not None and self._current.steerable

    @property
    def token_info(self) -> Json | None:
        """What was used, as the last ``token_count`` says it; ``None`` if nothing was."""
        return self._state.tokens.info

    @property
    def usage(self) -> ThreadUsage:
        """What the thread used, by model; what a fork took over apart."""
        return self._state.ledger.usage or ThreadUsage()

    @property
    def open_requests(self) -> tuple[RequestUserInput | ToolCallRequest, ...]:
        """What waits for :meth:`answer`, oldest first."""
        return self._state.questions.open

    @property
    def queued(self) -> tuple[str, ...]:
        """The ids of the inputs that wait for their turn."""
        return tuple(queued_id for queued_id, _ in self._queue)

    async def read(self) -> StoredThread:
        """The thread's metadata."""
        return await self._state.journal.handle.read()

    def follow(self) -> AsyncIterator[Event]:
        """All events from now on, of every turn, until the session closes."""
        return self._followers.follow()

    # Turns

    async def start_turn(self, given: UserInput, *, client_id: str | None = None) -> Turn:
        """Start a turn with what the user says.

        :class:`Conflict` while another one runs: :meth:`steer` it, or :meth:`enqueue`.
        """
        checked = said(given, client_id)
        self._check_free()
        return self._launch(checked)

    async def run(self, given: UserInput) -> AsyncIterator[Event]:
        """Start a turn and give its events. Who stops listening does not stop the turn."""
        turn = await self.start_turn(given)
        async for event in turn:
            yield event

    async def compact(self) -> Turn:
        """Start a turn in which the model sums the conversation up and goes on with that."""
        self._check_free()
        fold = self._state.journal.fold
        if not fold.items and not fold.stale:
            raise InvalidRequest(f"thread {self.id} has nothing to compact")
        return self._launch(None)

    async def steer(
        self, given: UserInput, *, expected_turn: str | None = None, client_id: str | None = None
    ) -> str:
        """Say more while a turn runs; the model gets it with the next request. The turn's id.

        :class:`InvalidRequest` if no turn runs, another than *expected_turn*, or one that takes no
        more input.
        """
        checked = said(given, client_id)
        run = self._running(expected_turn, "steer")
        run.steer(checked)
        return run.turn.id

    async def interrupt(self, turn_id: str | None = None) -> TurnResult:
        """Stop the turn that runs, and return when all there is of it is kept.

        :class:`InvalidRequest` if no turn runs, or another than *turn_id*.
        """
        run = self._running(turn_id, "interrupt")
        run.interrupt()
        return await run.turn.result()

    def enqueue(self, given: UserInput, *, client_id: str | None = None) -> str:
        """Say something that gets a turn of its own when the session is idle. An id for it.

        After a turn that failed or was interrupted the queue waits until one completes.
        """
        queued_id = new_thread_id()
        self._check_open()
        self._queue.append((queued_id, said(given, client_id)))
        if self._current is None and not self._alone:
            self._next()
        return queued_id

    def withdraw(self, queued_id: str) -> None:
        """Take a queued input back; :class:`InvalidRequest` if it does not wait any more."""
        for index, (waiting, _) in enumerate(self._queue):
            if waiting == queued_id:
                del self._queue[index]
                self._queue_waits = self._queue_waits and bool(self._queue)
                return
        raise InvalidRequest(f"no such input in the queue: {queued_id}")

    async def wait_idle(self) -> None:
        """Return when no turn runs and none will start by itself."""
        await self._idle.wait()

    def answer(self, call_id: str, answer: object) -> None:
        """Answer what a tool asks: see :attr:`open_requests`.

        To ``RequestUserInput`` an object like ``{"answers": {id: {"answers": [text]}}}``, to
        ``ToolCallRequest`` a text; to both a ``ToolOutput``, which can say that it did not work.
        :class:`InvalidRequest` if nobody asks.
        """
        self._state.questions.answer(call_id, answer)

    def configure(self, **changes: Any) -> None:
        """Change settings from the next turn on: names and values of :class:`SessionSettings`."""
        try:
            self._settings = msgspec.structs.replace(self._settings, **changes)
        except TypeError as error:
            raise InvalidRequest(f"no such setting: {error}") from error

    async def inject(self, items: Iterable[Json]) -> None:
        """Put items in the form of the Responses API into the context, without a turn.

        The model gets them with the next request. Kinds that no history keeps are left out; what
        no request could carry is :class:`InvalidRequest`.
        """
        self._check_open()
        lines = []
        for item in items:
            check_injected(item)
            lines.append(RolloutItem("response_item", item))
        await self._state.journal.record(*lines)
        await self._state.journal.handle.persist()

    # Going back

    async def revert(
        self, *, before_turn: str | None = None, turns: int | None = None
    ) -> tuple[str, ...]:
        """Go back to before a turn, or by a number of turns; the ids of those that do not count
        any more. They stay in the history: :meth:`redo` brings them back until a turn begins."""
        async with self._exclusively():
            return await revert(self._state, before_turn=before_turn, turns=turns)

    async def redo(self) -> tuple[str, ...]:
        """Take the last :meth:`revert` back by appending its turns again; their ids."""
        async with self._exclusively():
            return await redo(self._state)

    # Closing

    async def close(self) -> None:
        """Interrupt the turn that runs, drop the queue, and unload the thread.

        Twice is once, and whoever is cancelled meanwhile does not stop it. Raises what
        ``ThreadManager.unload`` raises.
        """
        if self._closing is None:
            self._closed = True
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._queue.clear()
        if self._current is not None:
            self._current.interrupt()
            await self._current.turn.result()
        if self._task is not None:
            await asyncio.wait((self._task,))
        self._followers.end()
        try:
            await self._manager.unload(self.id)
        finally:
            release(self._state.journal.handle)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # In private

    def _tell(self, event: Event) -> None:
        if self._current is not None:
            self._current.turn.tell(event)
        self._followers.tell(event)

    def _launch(self, given: Said | None) -> Turn:
        self._apply()
        turn = Turn(new_thread_id())
        self._current = TurnRun(self._state, turn, given)
        self._idle.clear()
        self._task = asyncio.create_task(self._drive(self._current))
        return turn

    def _apply(self) -> None:
        """Let what was configured count; never while a turn runs."""
        state, settings = self._state, self._settings
        if settings.tool_output_limit != state.settings.tool_output_limit:
            state.toolbox = Toolbox(self._tools, output_limit=settings.tool_output_limit)
        state.settings = settings
        state.questions.asks_approval = settings.approval_policy != "never"
        state.tokens.window = settings.reported_window

    async def _drive(self, run: TurnRun) -> None:
        result = run.unknown_end()
        try:
            result = await run.run()
        finally:  # whatever happened, nobody waits for ever
            self._current = None
            run.turn.end(result)
            self._queue_waits = result.status != "completed" and bool(self._queue)
            self._next()

    def _next(self) -> None:
        """Start the turn that waited longest, if any."""
        if self._queue and not self._queue_waits and not self._closed:
            self._launch(self._queue.popleft()[1])
        else:
            self._idle.set()

    def _running(self, expected: str | None, what: str) -> TurnRun:
        self._check_open()
        if self._current is None:
            raise InvalidRequest(f"no active turn to {what}")
        if expected not in (None, self._current.turn.id):
            found = self._current.turn.id
            raise InvalidRequest(f"expected active turn id {expected} but found {found}")
        return self._current

    def _check_open(self) -> None:
        if self._closed:
            raise ThreadNotFound(self.id, f"the session of thread {self.id} is closed")

    def _check_free(self) -> None:
        self._check_open()
        if self._current is not None:
            raise Conflict(
                f"turn {self._current.turn.id} is running",
                hint="steer it, interrupt it, or enqueue the input",
            )
        if self._alone:
            raise Conflict(f"thread {self.id} is being reverted", hint="try again")

    @asynccontextmanager
    async def _exclusively(self) -> AsyncIterator[None]:
        self._check_free()
        self._alone = True
        self._idle.clear()
        try:
            yield
        finally:
            self._alone = False
            self._next()
