"""Plays scenes with a real Codex."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.codex.app_server import TIMEOUT, AppServer, RpcError, write_config
from tests.codex.scenes import orders, plays
from tests.codex.scenes.script import SceneServer
from tests.codex.scenes.scripts import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.codex.scenes.plays import Action, Between, Play, Waiting

Json = dict[str, Any]

_PARAMETERS = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
CLIENT_TOOLS = [
    {"name": name, "description": what, "inputSchema": _PARAMETERS}
    for name, what in (
        ("echo", "Says the text again."),
        ("broken", "Always fails."),
        ("hold", "Answers when it is told to."),
    )
]


class Played(NamedTuple):
    """What came of a scene, in words; one text per turn, the first for what came before."""

    lines: list[str]
    """The persisted lines."""
    events: list[str]
    """The notifications."""
    requests: list[str]
    """The input of each request to the model."""
    counts: list[str]
    """All numbers of the token counts."""


class ToolServer(AppServer):
    """A client with tools of its own."""

    def __init__(self, binary: Path, home: Path, cwd: Path) -> None:
        self.held: list[Json] = []
        super().__init__(binary, home, cwd)

    def _refuse(self, request: Json) -> None:
        """Called by the reader for every request that the server sends."""
        if request["method"] != "item/tool/call":
            super()._refuse(request)
            return
        self._notifications.append({"method": request["method"], "params": request["params"]})
        if request["params"]["tool"] == "hold":
            self.held.append(request)
        else:
            self._answer_call(request)

    def answer_held(self) -> None:
        """Answer the call that waits."""
        self._answer_call(self.held.pop())

    def _answer_call(self, request: Json) -> None:
        params = request["params"]
        arguments = params["arguments"] or {}
        items = [{"type": "inputText", "text": f"{params['tool']}: {arguments.get('text')}"}]
        result = {"contentItems": items, "success": params["tool"] != "broken"}
        self._send({"id": request["id"], "result": result})

    def since(self, seen: int) -> list[Json]:
        """The notifications after the first *seen* ones, and the tools' calls between them."""
        return self._notifications[seen:]


def _answers_call(note: Json) -> bool:
    item = (note.get("params") or {}).get("item") or {}
    return note["method"] == "item/completed" and item.get("type") == "dynamicToolCall"


def _starts_command(note: Json) -> bool:
    item = (note.get("params") or {}).get("item") or {}
    return note["method"] == "item/started" and item.get("type") == "commandExecution"


class Player:
    """One scene with one binary in a home of its own."""

    def __init__(
        self, binary: Path, work: Path, model: SceneServer, *, mode: str, retries: int
    ) -> None:
        self.binary = binary
        self.model = model
        self.mode = mode
        self.cwd = work / "folder"
        self.home = work / "home"
        self.cwd.mkdir(parents=True)
        write_config(self.home, model.url)
        config = self.home / "config.toml"
        text = config.read_text()
        config.write_text(text.replace("stream_max_retries = 0", f"stream_max_retries = {retries}"))
        self.words: list[str] = []
        self.server = self._serve()
        more = {"historyMode": mode} if mode == "paginated" else {}
        self.thread_id = self.server.start_thread(self.cwd, dynamicTools=CLIENT_TOOLS, **more)
        self.turn_id = ""
        self.mark = 0

    def _serve(self) -> ToolServer:
        server = ToolServer(self.binary, self.home, self.cwd)
        server.__enter__()
        return server

    def close(self) -> None:
        """End the process and keep what it told."""
        self.server.close()
        words = [word for word in map(orders.notification_word, self.server.since(0)) if word]
        # What comes before the first turn is about the resume.
        self.words += words[words.index("turn/started") :] if "turn/started" in words else []

    def do(self, action: Action) -> None:
        """Do one thing and wait until it has its effect."""
        if isinstance(action, plays.Waiting):
            self._wait_for(action)
            return
        if isinstance(action, plays.Between):
            self._between(action)
            return
        match action:
            case plays.Say():
                if not self.turn_id or self._ended():
                    self.mark = self.server.seen()
                self.turn_id = self.server.start_turn(self.thread_id, f"Go [scene {action.scene}]")
            case plays.Answer():
                self.server.answer_held()
            case plays.Steer():
                text = [{"type": "text", "text": f"More [scene {action.scene}]"}]
                expected = {"threadId": self.thread_id, "expectedTurnId": self.turn_id}
                self.server.call("turn/steer", input=text, **expected)
            case plays.Open():
                self.model.gates[action.gate].set()
            case plays.Interrupt():
                self.server.call("turn/interrupt", threadId=self.thread_id, turnId=self.turn_id)
                self.server.wait_turn(self.thread_id, self.mark)

    def _between(self, action: Between) -> None:
        match action:
            case plays.Compact():
                self.mark = self.server.seen()
                self.server.call("thread/compact/start", threadId=self.thread_id)
                self.server.wait_turn(self.thread_id, self.mark)
            case plays.RollBack():
                self._roll_back()
            case plays.Fork():
                fork = self.server.call("thread/fork", threadId=self.thread_id)
                self.thread_id = str(fork["thread"]["id"])
            case plays.Reopen() | plays.Kill():
                if isinstance(action, plays.Kill):
                    self.server.kill()
                self.close()
                self.server = self._serve()
                self.server.call("thread/resume", threadId=self.thread_id)
                self.turn_id, self.mark = "", 0

    def _roll_back(self) -> None:
        if self.mode == "paginated":
            self.server.call("thread/revert", threadId=self.thread_id, beforeTurnId=self.turn_id)
        else:
            self.server.wait_until(self._rolls_back)

    def _rolls_back(self) -> bool:
        try:
            self.server.call("thread/rollback", threadId=self.thread_id, numTurns=1)
        except RpcError as error:  # for a moment after a turn's end
            if "in progress" in error.message:
                return False
            raise
        return True

    def _wait_for(self, action: Waiting) -> None:
        match action:
            case plays.End():
                self.server.wait_turn(self.thread_id, self.mark)
            case plays.Speaking():
                self.server.wait_until(lambda: self._spoken() >= action.message)
            case plays.Asked():
                self._wait(lambda note: bool(self.server.held))
                assert self.model.finished.wait(TIMEOUT)
            case plays.Answered():
                self._wait(_answers_call)
            case plays.Running():
                self._wait(_starts_command)

    def _ended(self) -> bool:
        notes = self.server.since(self.mark)
        return any(note["method"] == "turn/completed" for note in notes)

    def _spoken(self) -> int:
        """How many messages of this turn have begun to be written."""
        deltas = "item/agentMessage/delta"
        notes = self.server.since(self.mark)
        return len({note["params"]["itemId"] for note in notes if note["method"] == deltas})

    def _wait(self, wanted: Callable[[Json], bool]) -> None:
        self.server.wait_notification(wanted, self.mark)

    def played(self) -> Played:
        """What came of it."""
        path = max(self.home.glob(f"sessions/**/rollout-*{self.thread_id}*.jsonl"))
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        words = (orders.line_word(line["type"], line["payload"]) for line in lines)
        payloads = [line["payload"] for line in lines if line["type"] == "event_msg"]
        return Played(
            orders.turns(orders.settled_lines(words)),
            orders.turns(orders.settled_events(self.words), "turn/started"),
            [orders.request_words(body) for body in self.model.asked],
            [orders.count(payload) for payload in payloads if payload["type"] == "token_count"],
        )


def play(binary: Path, work: Path, scene: Play, *, mode: str = "legacy") -> Played:
    """Play one scene from a new thread on."""
    with SceneServer(SCRIPTS) as model:
        player = Player(binary, work, model, mode=mode, retries=scene.retries)
        try:
            for action in scene.actions:
                player.do(action)
        finally:
            player.close()
        return player.played()
