"""OpenAI's Python SDK at work: everything that it can do with threads, in one script."""

from __future__ import annotations

import inspect
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from openai_codex import ApprovalMode, AsyncCodex, Codex, CodexConfig, Sandbox
from openai_codex.errors import InvalidRequestError
from tests.codex.app_server import environment, write_config
from tests.codex.clients.scenes import SceneModel
from tests.codex.clients.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Kind", "Played", "opened", "play"]

Kind = Literal["sync", "async"]
NOBODY: Final = "019a0000-0000-7000-8000-000000000000"
_TEE: Final = str(Path(__file__).with_name("tee.py"))


class Played(NamedTuple):
    """What came of the script."""

    told: dict[str, Any]
    """What the SDK told its user."""
    transcript: Transcript
    places: dict[str, str]
    """The names of the places that messages speak of."""


@asynccontextmanager
async def opened(kind: Kind, config: CodexConfig) -> AsyncIterator[Any]:
    """A ``Codex`` or an ``AsyncCodex``."""
    if kind == "async":
        async with AsyncCodex(config) as client:
            yield client
    else:
        with Codex(config) as client_:
            yield client_


async def got(value: Any) -> Any:
    """What a method of either kind returns."""
    return await value if inspect.isawaitable(value) else value


async def events(stream: Any) -> AsyncIterator[Any]:
    """What a stream of either kind gives."""
    if hasattr(stream, "__aiter__"):
        async for event in stream:
            yield event
    else:
        for event in stream:
            yield event


async def play(kind: Kind, folder: Path, command: tuple[str, ...]) -> Played:
    """The whole script with a server that *command* runs, in a home below *folder*."""
    home, cwd = folder / "home", folder / "cwd"
    cwd.mkdir(parents=True)
    transcript = Transcript(folder / "transcript")
    config = CodexConfig(
        launch_args_override=(sys.executable, _TEE, str(transcript.path), *command),
        env=environment(home),
        cwd=str(cwd),
    )
    with SceneModel() as model:
        write_config(home, model.base_url)
        script = _Script(model, transcript, cwd)
        async with opened(kind, config) as client:
            await script.first(client)
        async with opened(kind, config) as client:
            await script.second(client)
    places = {str(cwd): "CWD", str(home): "HOME", str(cwd.resolve()): "CWD"}
    return Played(script.told, transcript, places)


class _Script:
    def __init__(self, model: SceneModel, transcript: Transcript, cwd: Path) -> None:
        self.told: dict[str, Any] = {}
        self._model = model
        self._transcript = transcript
        self._cwd = str(cwd)
        self._id = ""

    async def first(self, codex: Any) -> None:
        """Everything but what needs a second process."""
        await got(codex.account())
        self.told["models"] = len((await got(codex.models())).data) > 0
        thread = await got(
            codex.thread_start(
                cwd=self._cwd, approval_mode=ApprovalMode.deny_all, sandbox=Sandbox.full_access
            )
        )
        self._id = thread.id
        await self._runs(thread)
        await self._finds(codex, thread)
        await self._interrupts(thread)
        await self._steers(thread)
        await self._fails(thread)
        await self._compacts(thread)
        await self._forks(codex)
        await self._refused(codex)

    async def second(self, codex: Any) -> None:
        """Going on in another process."""
        thread = await got(codex.thread_resume(self._id))
        await self._said("resumed", thread.run("Again"))
        await got(codex.thread_resume(self._id, include_turns=False))
        read = (await got(thread.read(include_turns=True))).thread
        self.told["turns"] = [turn.status.value for turn in read.turns]
        listed = (await got(codex.thread_list())).data
        self.told["all"] = [each.preview for each in listed]

    async def _said(self, name: str, running: Any) -> None:
        result = await got(running)
        items = [item.root.type for item in result.items]
        self.told[name] = (result.status.value, result.final_response, items)

    async def _runs(self, thread: Any) -> None:
        await self._said("plain", thread.run("Hello [scene plain]"))
        await self._said("thought", thread.run("Think of it [scene think]"))

    async def _finds(self, codex: Any, thread: Any) -> None:
        await got(thread.set_name("Named by the SDK"))
        read = (await got(thread.read())).thread
        self.told["read"] = (read.name, read.preview, len(read.turns))
        await got(thread.read(include_turns=True))
        self.told["listed"] = len((await got(codex.thread_list(limit=5))).data)
        filters = {"archived": False, "cwd": self._cwd, "model_providers": ["scripted"]}
        page = await got(codex.thread_list(search_term="SDK", use_state_db_only=True, **filters))
        self.told["found"] = [each.name for each in page.data]

    async def _interrupts(self, thread: Any) -> None:
        turn = await got(thread.turn("Stop me [scene slow]"))
        complete = 0
        async for event in events(turn.stream()):
            last = event
            complete += event.method == "item/completed"
            if event.method == "item/completed" and complete == 2:
                await got(turn.interrupt())
        self.told["interrupted"] = last.payload.turn.status.value

    async def _steers(self, thread: Any) -> None:
        text = "Steer me [scene steered]"
        turn = await got(thread.turn(text))
        said = []
        async for event in events(turn.stream()):
            if event.method != "item/completed":
                continue
            said.append(event.payload.item.root.type)
            if len(said) == 2:
                await got(turn.steer("Steered [scene plain]"))
                self._model.gates[text].set()
        self.told["steered"] = said

    async def _fails(self, thread: Any) -> None:
        try:
            await got(thread.run("Fail [scene fail]"))
        except RuntimeError as error:
            self.told["failed"] = type(error).__name__

    async def _compacts(self, thread: Any) -> None:
        before = self._transcript.count("turn/completed")
        await got(thread.compact())
        self._transcript.wait("turn/completed", before + 1)
        await self._said("after the compaction", thread.run("Go on"))

    async def _forks(self, codex: Any) -> None:
        fork = await got(codex.thread_fork(self._id))
        await self._said("forked", fork.run("In the fork"))
        await got(codex.thread_archive(fork.id))
        listed = (await got(codex.thread_list(archived=True))).data
        self.told["archived"] = len(listed)
        back = await got(codex.thread_unarchive(fork.id))
        self.told["unarchived"] = back.id == fork.id

    async def _refused(self, codex: Any) -> None:
        try:
            await got(codex.thread_resume(NOBODY))
        except InvalidRequestError as error:
            self.told["refused"] = str(error)
