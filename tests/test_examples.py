"""The examples run, each as a program of its own against a scripted model server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from threadstore.testing.model_server import Call, Reply, Say, ScriptedModelServer

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(folder: Path, server: ScriptedModelServer, name: str, *words: str, typed: str = "") -> str:
    """What the example prints, working in *folder*."""
    env = {**os.environ, "OPENAI_BASE_URL": server.base_url}
    env.pop("OPENAI_API_KEY", None)
    argv = [sys.executable, str(EXAMPLES / name), *words]
    done = subprocess.run(
        argv,
        env=env,
        cwd=folder,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def said(request: dict[str, Any]) -> list[str]:
    """What user and model said before this request."""
    return [
        item["content"][0]["text"]
        for item in request["input"]
        if item["type"] == "message" and "environment_context" not in item["content"][0]["text"]
    ]


def output(request: dict[str, Any]) -> str:
    """The last output of a tool before this request."""
    return str([i for i in request["input"] if i["type"] == "function_call_output"][-1]["output"])


def test_first_thread(tmp_path: Path) -> None:
    with ScriptedModelServer([]) as server:
        assert "Sky - Why is the sky blue?" in run(tmp_path, server, "first_thread.py")


def test_the_agent_has_about_20_lines_and_calls_its_tool(tmp_path: Path) -> None:
    code = (EXAMPLES / "agent.py").read_text(encoding="utf-8").splitlines()[1:]
    assert len([line for line in code if line.strip()]) <= 21
    with ScriptedModelServer([Reply(Call("roll", {"sides": 1})), Reply(Say("A one."))]) as server:
        printed = run(tmp_path, server, "agent.py", "m", "Roll a die")
    assert printed.startswith("A one.\ncompleted: thread ")
    assert output(server.requests[1]) == "1"


def test_a_chat_goes_back_forth_and_another_way(tmp_path: Path) -> None:
    replies = [Reply(Say(text)) for text in ("one", "two", "three", "four")]
    with ScriptedModelServer(replies) as server:
        typed = "A\n/redo\n/undo\n/redo\nB\n/fork\nC\n"
        printed = run(tmp_path, server, "chat.py", "m", typed=typed).splitlines()
        first = printed[0].removeprefix("thread ")
        run(tmp_path, server, "chat.py", "m", first, typed="D\n")
    assert [line.split(" ")[0] for line in printed] == [
        "thread", "one", "[thread", "taken", "brought", "two", "thread", "three",
    ]  # fmt: skip
    assert said(server.requests[2]) == ["A", "one", "B", "two", "C"]
    assert said(server.requests[3]) == ["A", "one", "B", "two", "D"]


@pytest.mark.parametrize(("typed", "told"), [("note", "opened note"), ("no", "there is no no")])
def test_a_client_answers_calls_and_questions(tmp_path: Path, typed: str, told: str) -> None:
    (tmp_path / "note").touch()
    options = [{"label": "note", "description": "the only one"}]
    question = {"id": "file", "header": "File", "question": "Which file?", "options": options}
    replies = [
        Reply(Call("request_user_input", {"questions": [question]})),
        Reply(Call("open_file", {"path": typed})),
        Reply(Say("Done.")),
    ]
    with ScriptedModelServer(replies) as server:
        printed = run(tmp_path, server, "client_tool.py", "m", "Open it", typed=f"{typed}\n")
    assert printed == "Which file?\nDone.\n"
    assert f'"answers":["{typed}"]' in output(server.requests[1])
    assert output(server.requests[2]) == told
