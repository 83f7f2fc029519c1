"""A thread that clients have open: its session, and everybody who follows it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from threadstore.appserver.audience import OpenThread
from threadstore.appserver.narration import Narrator
from threadstore.engine import (
    RequestUserInput,
    TaskComplete,
    ToolCallRequest,
    ToolOutput,
    TurnAborted,
)
from threadstore.errors import InvalidRequest
from threadstore.jsonrpc import ConnectionClosed, RpcError

if TYPE_CHECKING:
    from collections.abc import Callable

    from threadstore.appserver.peers import Peer
    from threadstore.engine import Session, SessionSettings
    from threadstore.metadata import StoredThread

__all__ = ["LoadedThread"]

Json = dict[str, Any]

ANSWER_SECONDS: Final = 1.0
"""For the answers to interruptions to leave, before others hear that the turn has ended."""


class LoadedThread(OpenThread):
    """Passes a session's events on to its peers, and its questions to one of them at a time."""

    def __init__(
        self, session: Session, *, ephemeral: bool, released: Callable[[OpenThread], None]
    ) -> None:
        super().__init__(session.id, ephemeral=ephemeral, released=released)
        self.session = session
        self._narrator = Narrator(session.id)
        self._interrupts: list[asyncio.Event] = []
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._joined = asyncio.Event()
        self._pump = asyncio.create_task(self._follow())

    @property
    def settings(self) -> SessionSettings:
        """How its turns are run."""
        return self.session.settings

    @property
    def turn_id(self) -> str | None:
        """The turn that runs."""
        return None if self.session.turn is None else self.session.turn.id

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """What the turn waits for."""
        return ("waitingOnUserInput",) if self._narrator.waiting else ()

    @property
    def failed(self) -> bool:
        """Whether the last turn failed."""
        return self._narrator.failed

    def join(self, peer: Peer) -> None:
        """Let *peer* hear of it, and be asked."""
        super().join(peer)
        self._joined.set()

    async def read(self) -> StoredThread:
        """Its metadata."""
        return await self.session.read()

    async def wait_idle(self) -> None:
        """Return when no turn runs."""
        await self.session.wait_idle()

    # Turns

    async def interrupt(self, turn_id: str, answer: Callable[[], Any]) -> None:
        """Interrupt the turn; *answer* is called before anybody hears that it has ended."""
        if turn_id != (running := self.session.turn and self.session.turn.id):
            if running is None:
                raise InvalidRequest("no active turn to interrupt")
            raise InvalidRequest(f"expected active turn id {turn_id} but found {running}")
        answered = asyncio.Event()
        self._interrupts.append(answered)
        try:
            await self.session.interrupt(turn_id)
            await answer()
        finally:
            answered.set()

    async def close(self) -> None:
        """End the session; what runs is interrupted."""
        try:
            await self.session.close()
        finally:
            for task in self._asking.values():
                task.cancel()
            await asyncio.wait((self._pump,))

    # In private

    async def _follow(self) -> None:
        async for event in self.session.follow():
            if isinstance(event, TaskComplete | TurnAborted):
                await self._before_the_end(event.turn_id)
            for notice in self._narrator.tell(event):
                self.tell(notice.method, notice.params)
            if isinstance(event, RequestUserInput | ToolCallRequest):
                self._ask(event)

    async def _before_the_end(self, turn_id: str) -> None:
        """Return when the next turn can start, and whoever interrupted this one has its answer."""
        turn = self.session.turn
        if turn is not None and turn.id == turn_id:
            await turn.result()
        waiting, self._interrupts = self._interrupts, []
        with suppress(TimeoutError):  # who does not read holds nobody else up
            async with asyncio.timeout(ANSWER_SECONDS):
                for answered in waiting:
                    await answered.wait()
        for task in self._asking.values():
            task.cancel()

    def _ask(self, event: RequestUserInput | ToolCallRequest) -> None:
        task = asyncio.create_task(self._put(event))
        self._asking[event.call_id] = task
        task.add_done_callback(lambda _: self._asking.pop(event.call_id, None))

    async def _put(self, event: RequestUserInput | ToolCallRequest) -> None:
        """Put a question to one peer after the other until one answers."""
        tried: set[Peer] = set()
        while True:
            peer = next((peer for peer in self.peers if peer not in tried), None)
            if peer is None:
                self._joined.clear()
                await self._joined.wait()
                continue
            tried.add(peer)
            try:
                await self._put_to(peer, event)
            except ConnectionClosed:
                continue
            return

    async def _put_to(self, peer: Peer, event: RequestUserInput | ToolCallRequest) -> None:
        await peer.told()
        place = {"threadId": self.id, "turnId": event.turn_id}
        answer: object
        if isinstance(event, RequestUserInput):
            params = {
                **place,
                "itemId": event.call_id,
                "questions": event.questions,
                "isBlocking": True,
                "autoResolutionMs": None,
            }
            try:
                method = "item/tool/requestUserInput"
                answer = await peer.connection.request(method, params, result=dict[str, Any])
            except RpcError:  # also for an answer of another shape: the turn goes on without
                answer = {"answers": {}}
            for notice in self._narrator.asked(-1):
                self.tell(notice.method, notice.params)
        else:
            params = {
                **place,
                "callId": event.call_id,
                "namespace": event.namespace,
                "tool": event.tool,
                "arguments": event.arguments,
            }
            answer = await _output_of(peer, params)
        with suppress(InvalidRequest):  # the turn is over
            self.session.answer(event.call_id, answer)


class _ToolPart(msgspec.Struct, rename="camel"):
    type: str
    text: str | None = None
    image_url: str | None = None


class _ToolAnswer(msgspec.Struct, rename="camel"):
    content_items: list[_ToolPart]
    success: bool


async def _output_of(peer: Peer, params: Json) -> ToolOutput:
    try:
        answer = await peer.connection.request("item/tool/call", params, result=_ToolAnswer)
    except RpcError as error:
        return ToolOutput(output=f"error: {error.message}", success=False)
    parts: list[Json] = [
        {"type": "input_image", "image_url": part.image_url}
        if part.image_url is not None
        else {"type": "input_text", "text": part.text or ""}
        for part in answer.content_items
    ]
    if all(part["type"] == "input_text" for part in parts):
        return ToolOutput(output="".join(part["text"] for part in parts), success=answer.success)
    return ToolOutput(output=parts, success=answer.success)


def opened(thread: OpenThread, stored: StoredThread) -> Json:
    """What only a server knows of a loaded thread, for ``protocol_thread``."""
    cwd = thread.settings.cwd or stored.cwd
    environment = {"environmentId": "local", "cwd": cwd, "runtimeWorkspaceRoots": [cwd]}
    return {
        "status": thread.status,
        "environments": [environment],
        "ephemeral": thread.ephemeral,
        "can_accept_direct_input": True,
    }
