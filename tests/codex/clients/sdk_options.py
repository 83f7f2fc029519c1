"""What the SDK's methods take beside the usual: instructions, images, schemas, pages, errors."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from openai_codex import (
    ApprovalMode,
    CodexConfig,
    ImageInput,
    LocalImageInput,
    MentionInput,
    TextInput,
)
from openai_codex.errors import JsonRpcError
from tests.codex.app_server import environment, write_config
from tests.codex.clients.scenes import SceneModel
from tests.codex.clients.sdk import NOBODY, got, opened
from tests.codex.clients.transcript import named

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.clients.sdk import Kind

__all__ = ["DIFFERENT", "play_options"]

Json = dict[str, Any]
PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA: Final = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


DIFFERENT: Final = {
    "images": "a picture by its URL is introduced like one from a file",
    "not archived": "Codex says that the thread has a writer, which is not what is wrong",
    "no id": "other words",
}
"""What differs, and why."""


async def play_options(kind: Kind, folder: Path, program: Path) -> dict[str, Any]:
    """The script with *program* in a home below *folder*; what came of it."""
    home, cwd = folder / "home", folder / "cwd"
    cwd.mkdir(parents=True)
    with SceneModel() as model:
        write_config(home, model.base_url, model="not this one")
        config = CodexConfig(
            codex_bin=str(program),
            config_overrides=('model="gpt-5.5"',),
            env=environment(home),
            cwd=str(cwd),
        )
        script = _Options(model, cwd)
        async with opened(kind, config) as client:
            await script.play(client)
    return script.told


class _Options:
    def __init__(self, model: SceneModel, cwd: Path) -> None:
        self.told: dict[str, Any] = {}
        self._model = model
        self._cwd = cwd

    async def play(self, codex: Any) -> None:
        """All of it."""
        thread = await got(
            codex.thread_start(
                cwd=str(self._cwd),
                approval_mode=ApprovalMode.deny_all,
                base_instructions="Answer in rhymes.",
                developer_instructions="Be brief.",
                service_name="tests",
            )
        )
        await self._inputs(thread)
        await self._settings(codex, thread)
        await self._pages(codex)
        await self._ephemeral(codex)
        await self._errors(codex, thread)

    def _request(self) -> Json:
        return self._model.requests[-1]

    def _sent(self, *kinds: str) -> list[str]:
        """The parts of what the user said last, as the model got them."""
        said = [item for item in self._request()["input"] if item.get("type") in kinds]
        content = said[-1].get("content") or said[-1].get("output")
        return [str(part.get("type")) for part in content] if isinstance(content, list) else content

    async def _inputs(self, thread: Any) -> None:
        result = await got(thread.run("Hello"))
        self.told["instructions"] = "Answer in rhymes." in str(self._request())
        developer = [i for i in self._request()["input"] if i.get("role") == "developer"]
        self.told["developer"] = "Be brief." in str(developer)
        picture = self._cwd / "pixel.png"
        picture.write_bytes(PIXEL)
        url = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
        images = [TextInput("See"), ImageInput(url), LocalImageInput(str(picture))]
        result = await got(thread.run(images))
        self.told["images"] = (result.status.value, self._sent("message"))
        mention = [TextInput("Read"), MentionInput("notes", "app://notes")]
        self.told["mention"] = (await got(thread.run(mention))).status.value

    async def _settings(self, codex: Any, thread: Any) -> None:
        await got(thread.run("As JSON", output_schema=SCHEMA))
        self.told["schema"] = self._request()["text"]["format"]["schema"]
        await got(thread.run("Without", model="gpt-5.4", effort="high"))
        asked = self._request()
        self.told["no schema"] = "format" in asked.get("text", {})
        self.told["model"] = (asked["model"], asked["reasoning"]["effort"])
        await got(thread.run("Still"))
        self.told["kept"] = self._request()["model"]
        fork = await got(codex.thread_fork(thread.id, model="gpt-5.5", include_turns=False))
        await got(fork.run("In the fork"))
        self.told["fork model"] = self._request()["model"]
        await got(fork.set_name("The fork"))

    async def _pages(self, codex: Any) -> None:
        for key in ("created_at", "updated_at"):
            for direction in ("asc", "desc"):
                self.told[f"{key} {direction}"] = await self._paged(codex, key, direction)
        searches: dict[str, dict[str, Any]] = {
            "nothing": {"search_term": "no such thing"},
            "elsewhere": {"cwd": "/nowhere"},
            "either": {"cwd": ["/nowhere", str(self._cwd)]},
            "exec": {"source_kinds": ["exec"]},
            "provider": {"model_providers": ["openai"]},
            "archived": {"archived": True},
        }
        for name, filters in searches.items():
            self.told[name] = len((await got(codex.thread_list(**filters))).data)

    async def _paged(self, codex: Any, key: str, direction: str) -> list[str | None]:
        names, cursor = [], None
        while True:
            page = await got(
                codex.thread_list(limit=1, cursor=cursor, sort_key=key, sort_direction=direction)
            )
            names += [each.name for each in page.data]
            cursor = page.next_cursor
            if cursor is None:
                return names

    async def _ephemeral(self, codex: Any) -> None:
        before = len((await got(codex.thread_list())).data)
        thread = await got(codex.thread_start(cwd=str(self._cwd), ephemeral=True))
        self.told["ephemeral"] = (await got(thread.run("Forget this"))).status.value
        self.told["not listed"] = len((await got(codex.thread_list())).data) - before
        await self._refused("name of an ephemeral", thread.set_name, "Never")

    async def _errors(self, codex: Any, thread: Any) -> None:
        await self._refused("no name", thread.set_name, "  ")
        await self._refused("unknown archive", codex.thread_archive, NOBODY)
        await self._refused("not archived", codex.thread_unarchive, thread.id)
        await self._refused("unknown fork", codex.thread_fork, NOBODY)
        await self._refused("no id", codex.thread_resume, "nonsense")
        turn = await got(thread.turn("The last one"))
        await got(turn.run())
        await self._refused("interrupt of no turn", turn.interrupt)
        await self._refused("steering no turn", turn.steer, "More")

    async def _refused(self, name: str, method: Any, *arguments: Any) -> None:
        try:
            await got(method(*arguments))
        except JsonRpcError as error:
            self.told[name] = (type(error).__name__, named(error.message, {}))
        else:
            self.told[name] = "done"
