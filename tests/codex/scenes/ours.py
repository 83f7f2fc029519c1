"""Plays scenes with our engine: the same scripts over HTTP, the same tools, a home of our own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from contextlib import suppress
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any, Self

from tests.codex.app_server import TIMEOUT
from tests.codex.scenes import orders, plays
from tests.codex.scenes.codex import CLIENT_TOOLS, Played
from tests.codex.scenes.script import SceneServer
from tests.codex.scenes.scripts import SCRIPTS

from threadstore import NewThread, ThreadManager, open_store
from threadstore.engine import events
from threadstore.engine.openai_model import OpenAIModel
from threadstore.engine.session import Session
from threadstore.engine.settings import SessionSettings
from threadstore.engine.tools import ToolOutput

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.codex.scenes.plays import Action, Between, Play, Waiting

    from threadstore.engine.events import Event
    from threadstore.engine.turn import Turn
    from threadstore.metadata import HistoryMode

Json = dict[str, Any]


class Player:
    """One scene in a home of its own."""

    def __init__(self, work: Path, model: SceneServer, *, mode: HistoryMode, retries: int) -> None:
        self.model = model
        self.home = work / "home"
        self.new = NewThread(
            cwd=str(work), history_mode=mode, dynamic_tools=tuple(CLIENT_TOOLS), source="vscode"
        )
        self.settings = SessionSettings(
            model="gpt-5.5",
            developer_instructions="Be brief.",
            max_retries=retries,
            retry_delay=0,
        )
        self.client = OpenAIModel(model.url)
        self.told: list[Event] = []
        self.news = asyncio.Condition()
        self.mark = 0
        self.held: list[str] = []
        self.running = asyncio.Event()
        """Set when a command of the shell runs."""
        self.session: Session
        self.manager: ThreadManager
        self.turn: Turn

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._close()
        await self.client.close()

    async def _open(self, thread_id: str | None = None) -> None:
        self.store = open_store(f"local:{self.home}")
        await self.store.__aenter__()
        self.manager = ThreadManager(self.store)
        settings, tools = self.settings, (self.exec_command,)
        if thread_id is None:
            self.session = await Session.start(
                self.manager, self.new, self.client, settings=settings, tools=tools
            )
        else:
            self.session = await Session.resume(
                self.manager, thread_id, self.client, settings=settings, tools=tools
            )
        self.listener = asyncio.create_task(self._listen())

    async def _close(self) -> None:
        await self.session.close()
        await self.listener
        await self.manager.close()
        await self.store.__aexit__(None, None, None)

    async def _listen(self) -> None:
        async for event in self.session.follow():
            self.told.append(event)
            if isinstance(event, events.ToolCallRequest):
                if event.tool == "hold":
                    self.held.append(event.call_id)
                else:
                    self._answer(event.call_id, event.tool)
            async with self.news:
                self.news.notify_all()

    def _answer(self, call_id: str, tool: str) -> None:
        self.session.answer(call_id, ToolOutput(output=tool, success=tool != "broken"))

    async def exec_command(self, cmd: str) -> str:
        """Run a shell command, as Codex's own tool of this name does."""
        group = await asyncio.create_subprocess_shell(
            cmd, stdin=DEVNULL, stdout=PIPE, start_new_session=True
        )
        self.running.set()
        try:
            output, _ = await group.communicate()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(group.pid, signal.SIGKILL)
            await group.wait()
        return f"exit code {group.returncode}\n{output.decode()}"

    async def do(self, action: Action) -> None:
        """Do one thing and wait until it has its effect."""
        if isinstance(action, plays.Waiting):
            await self._wait_for(action)
            return
        if isinstance(action, plays.Between):
            await self._between(action)
            return
        match action:
            case plays.Say():
                text = f"Go [scene {action.scene}]"
                if self.session.turn is None:
                    self.mark = len(self.told)
                    self.turn = await self.session.start_turn(text)
                else:  # an app server takes a second start as more input
                    await self.session.steer(text)
            case plays.Answer():
                self._answer(self.held.pop(), "hold")
            case plays.Steer():
                await self.session.steer(f"More [scene {action.scene}]")
            case plays.Open():
                self.model.gates[action.gate].set()
            case plays.Interrupt():
                await self.session.interrupt(self.turn.id)

    async def _between(self, action: Between) -> None:
        match action:
            case plays.Compact():
                await (await self.session.compact()).result()
            case plays.RollBack():
                await self.session.revert(turns=1)
            case plays.Fork():
                await self._fork()
            case plays.Reopen():
                await self._close()
                await self._open(self.session.id)
            case plays.Kill():
                await self._kill()

    async def _fork(self) -> None:
        source, self.session = (
            self.session,
            await Session.fork(
                self.manager,
                self.session.id,
                self.client,
                settings=self.settings,
                tools=(self.exec_command,),
            ),
        )
        await source.close()
        await self.listener
        self.listener = asyncio.create_task(self._listen())

    async def _wait_for(self, action: Waiting) -> None:
        match action:
            case plays.End():
                await self.turn.result()
            case plays.Speaking():
                await self._until(lambda: self._spoken() >= action.message)
            case plays.Answered():
                await self._until(self._answered)
            case plays.Running():
                await self.running.wait()
            case plays.Asked():
                await self._until(lambda: bool(self.held))
                await asyncio.to_thread(self.model.finished.wait, TIMEOUT)
                await self._booked()

    async def _booked(self) -> None:
        """Wait until the response's tokens are in the thread's metadata; nothing tells so."""
        async with asyncio.timeout(TIMEOUT):
            while (await self.session.read()).token_usage is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def _kill(self) -> None:
        """Go on with the files as they were at this moment, as after a process was killed."""
        left = self.home.with_name(f"{self.home.name}-left")
        shutil.copytree(self.home, left)
        before = len(self.told)
        await self._close()
        del self.told[before:]
        self.home = left
        await self._open(self.session.id)

    def _spoken(self) -> int:
        """How many messages of this turn have begun to be written."""
        told = self.told[self.mark :]
        return len({event.item_id for event in told if isinstance(event, events.AgentMessageDelta)})

    def _answered(self) -> bool:
        done = (e for e in self.told[self.mark :] if isinstance(e, events.ItemCompleted))
        return any(event.item["type"] == "DynamicToolCall" for event in done)

    async def _until(self, ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT), self.news:
            await self.news.wait_for(ready)

    def played(self) -> Played:
        """What came of it."""
        (path,) = self.home.glob(f"sessions/**/rollout-*{self.session.id}*.jsonl")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        payloads = [line["payload"] for line in lines if line["type"] == "event_msg"]
        words = (orders.line_word(line["type"], line["payload"]) for line in lines)
        told = (word for event in self.told for word in orders.our_event_words(event.payload()))
        return Played(
            orders.turns(orders.settled_lines(words)),
            orders.turns(orders.settled_events(told), "turn/started"),
            [orders.request_words(body) for body in self.model.asked],
            [orders.count(payload) for payload in payloads if payload["type"] == "token_count"],
        )


async def play(work: Path, scene: Play, *, mode: HistoryMode) -> Played:
    """Play one scene from a new thread on."""
    with SceneServer(SCRIPTS) as model:
        async with Player(work, model, mode=mode, retries=scene.retries) as player:
            for action in scene.actions:
                await player.do(action)
        return player.played()
