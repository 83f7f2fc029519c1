"""Every Python block of README.md and docs/agents.md runs and prints what it says."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

import threadstore.engine as engine
from threadstore import NewThread, ThreadManager, open_store
from threadstore.engine.model import ModelRequest
from threadstore.testing.model_server import ScriptedModelServer
from threadstore.testing.scripted_model import Call, Failed, Reply, Say, ScriptedModel

ROOT = Path(__file__).parents[1]
AGENTS = ROOT / "docs" / "agents.md"
EXPECTED = re.compile(r"^\s*print\(.*\)  # (.*)$", re.MULTILINE)

SIZES = {
    "id": "size",
    "header": "Size",
    "question": "Which size?",
    "options": [
        {"label": "M", "description": "medium"},
        {"label": "L", "description": "large"},
    ],
}
REPLIES = {
    "What is 17 times 23?": Reply(Call("multiply", {"a": 17, "b": 23})),
    "How warm is it in Bern?": Reply(Call("weather", {"city": "Bern"})),
    "Order a shirt": Reply(Call("request_user_input", {"questions": [SIZES]})),
    "Open the readme": Reply(Call("open_file", {"path": "README.md"})),
    "Write a novel": Reply(Say("It was a dark and stormy night"), hang=True),
    "Keep it short": Reply(Say("Sunny.")),
    "Divide by zero": Reply(Failed("invalid_prompt", "HTTP 400: no")),
}
OUTPUTS = {"391": "It is 391.", '{"city":"Bern"': "It is 21 degrees in Bern."}


def reply_to(request: ModelRequest | dict[str, Any]) -> Reply:
    """What the model of the documentation says."""
    items = request.input if isinstance(request, ModelRequest) else request["input"]
    last = items[-1]
    if last["type"] == "function_call_output":
        for beginning, text in OUTPUTS.items():
            if last["output"].startswith(beginning):
                return Reply(Say(text))
        return Reply(Say("Done."))
    text = last["content"][-1].get("text", "")
    return REPLIES.get(text, Reply(Say("Fine.")))


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page, with the numbers of their first lines."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


def programs() -> list[Any]:
    """The blocks that are whole programs."""
    return [
        pytest.param(code, id=f"{page.name}:{line}")
        for page in (ROOT / "README.md", AGENTS)
        for line, code in blocks(page)
        if "asyncio.run(main())" in code
    ]


@pytest.mark.parametrize("code", programs())
def test_a_program_of_the_documentation_runs(code: str, tmp_path: Path) -> None:
    with ScriptedModelServer(reply_to) as server:
        env = {**os.environ, "OPENAI_BASE_URL": server.base_url}
        argv = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(
            argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")
    if "OpenAIModel" in code:
        assert "It is 391." in done.stdout
        assert "completed" in done.stdout


async def test_the_pieces_of_the_page_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (_, program), *pieces = blocks(AGENTS)
    names: dict[str, Any] = {"__name__": "agents"}
    exec(program.replace("asyncio.run(main())", ""), names)  # its imports and its tool
    async with open_store("local:home") as store, ThreadManager(store) as threads:
        names |= {
            "store": store,
            "threads": threads,
            "model": ScriptedModel(reply_to),
            "settings": engine.SessionSettings(model="gpt-5.1"),
        }
        for line, code in pieces:
            await _run(code, names, line)
            printed = capsys.readouterr().out
            for expected in EXPECTED.findall(code):
                assert f"{expected}\n" in printed, f"line {line} prints {printed!r}"
    await names["test_the_weather_is_looked_up"]()


async def test_the_agent_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line, code = next(block for block in blocks(ROOT / "README.md") if "OpenAIModel" in block[1])
    with ScriptedModelServer(reply_to) as server:
        async with open_store("local:home") as store, ThreadManager(store) as manager:
            names: dict[str, Any] = {**vars(engine), "manager": manager, "NewThread": NewThread}
            await _run(code.replace("http://127.0.0.1:11434/v1", server.base_url), names, line)
            await names["session"].close()
            await names["model"].close()
    assert "It is 391." in capsys.readouterr().out


async def _run(code: str, names: dict[str, Any], line: int) -> None:
    """Run a piece that stands in an async function, as if it stood in *names* itself."""
    compiled = compile(
        "\n" * (line - 1) + code, str(AGENTS), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    running = eval(compiled, names)
    if inspect.iscoroutine(running):
        await asyncio.wait_for(running, 30)


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the first table of a chapter, by the names in their first columns."""
    chapter = AGENTS.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|(.*)\|$", chapter, re.MULTILINE)
    return {
        name: rest.split(" | ") for names, rest in rows for name in re.findall(r"`(\w+)`", names)
    }


def test_the_page_has_every_event_and_every_setting() -> None:
    events = {event.__name__ for event in typing.get_args(engine.Event)}
    assert set(table("Events")) == events
    assert set(table("Settings")) == set(engine.SessionSettings.__struct_fields__)


def test_the_defaults_on_the_page_are_those_of_the_settings() -> None:
    settings = engine.SessionSettings()
    for name, (default, *_) in table("Settings").items():
        shown = default.strip().strip("`").strip('"').replace(",", "")
        value = getattr(settings, name)
        if shown.isdecimal() or shown in ("True", "auto", "0.2"):
            assert str(value).removesuffix(".0") == shown, name


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]), ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(#[^)]*)?\)", page.read_text(encoding="utf-8")):
        linked = (page.parent / target) if target else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor[1:] in {heading.lower().replace(" ", "-") for heading in headings}
