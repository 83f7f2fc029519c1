"""``threadstore run``: one turn against a model server that speaks real server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Home, Result, Run
from tests.cli.test_terminal import Screen

from threadstore import NewThread, ThreadManager, open_store
from threadstore.engine import OpenAIModel, Session, SessionSettings
from threadstore.testing.model_server import (
    Answer,
    Call,
    HangUp,
    Http,
    Pause,
    Reply,
    Say,
    ScriptedModelServer,
    Think,
)

Json = dict[str, Any]
TOOLS = '''
import asyncio, sys, time

def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b

def shout(text: str) -> str:
    return text.upper()

async def block() -> None:
    print("blocking", file=sys.stderr, flush=True)
    while True:
        time.sleep(0.01)

both = [add, shout]
number = 7
'''


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory with tools in it, and nothing in the environment about models."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "THREADSTORE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "run_tools.py").write_text(TOOLS)
    (folder / "broken_tools.py").write_text("1 / 0")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


class Agent:
    """The command line on a scripted server."""

    def __init__(self, cli: Run, *answers: Answer) -> None:
        self._cli = cli
        self.server = ScriptedModelServer(answers)

    def __call__(self, *words: str) -> Result:
        return self._cli("run", *words, "--base-url", self.server.base_url)

    @property
    def inputs(self) -> list[list[str]]:
        """What was said in each request: texts, calls and outputs."""
        return [list(map(_told, request["input"])) for request in self.server.requests]


def _told(item: Json) -> str:
    if item["type"] == "message":
        return f"{item['role']}: " + "".join(part.get("text", "") for part in item["content"])
    return f"{item['type']}: {item.get('output', item.get('arguments'))}"


@contextmanager
def agent(cli: Run, *answers: Answer) -> Iterator[Agent]:
    made = Agent(cli, *answers)
    with made.server:
        yield made


@contextmanager
def running(home: Home, server: ScriptedModelServer, *words: str) -> Iterator[Any]:
    """The command in a process of its own."""
    argv = [sys.executable, "-m", "threadstore", "run", *words, "--base-url", server.base_url]
    env = {**os.environ, "CODEX_HOME": str(home.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def thread_of(result: Result) -> str:
    found = re.search(r"^thread (\S+)", result.err, re.MULTILINE)
    assert found is not None, result.err
    return found[1]


def test_the_answer_is_on_stdout_and_the_rest_on_stderr(cli: Run) -> None:
    with agent(cli, Reply(Think("**Hm**"), Say("Hello, you.", chunk=3))) as run:
        result = run("Hi", "--model", "m")
    assert (result.code, result.out) == (0, "Hello, you.\n")
    thread = thread_of(result)
    first, thought, tokens, again = result.err.splitlines()
    assert first == f"thread {thread} · m"
    assert thought == "**Hm**"
    assert re.match(
        r"tokens: 1,\d{3} in \(100 cached\), 20 out; the thread so far: 1,\d{3}", tokens
    )
    assert again == f"go on with: threadstore run --thread {thread} …"
    shown = cli("show", thread, "--json").json
    assert (shown["source"], shown["preview"], shown["cwd"]) == ("exec", "Hi", os.getcwd())


def test_quiet_is_the_answer_alone(cli: Run) -> None:
    with agent(cli, Reply(Call("nothing")), Reply(Say("Hello"))) as run:
        result = run("Hi", "--model", "m", "--quiet")
    assert result == (0, "Hello\n", "")


def test_another_process_goes_on_with_the_thread(home: Home, cli: Run) -> None:
    with agent(cli, Reply(Say("You are Ada.")), Reply(Say("Ada."))) as run:
        first = run("I am Ada", "--model", "m")
        thread = thread_of(first)
        words = ("Who am I?", "--thread", thread[:13], "--cwd", "/")
        with running(home, run.server, *words) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, b"Ada.\n"), err
    said = [text for text in run.inputs[1] if "environment_context" not in text]
    assert "<cwd>/</cwd>" in run.inputs[1][-2]
    assert said == ["user: I am Ada", "assistant: You are Ada.", "user: Who am I?"]
    assert run.server.requests[1]["model"] == "m"
    turns = cli("turns", thread, "--json").json["data"]
    assert [turn["status"] for turn in turns] == ["completed", "completed"]


def test_a_thread_is_found_by_its_name_as_everywhere(cli: Run, home: Home) -> None:
    with agent(cli, Reply(Say("done"))) as run:
        result = run("go on", "--thread", "Parser rewrite", "--model", "m")
        assert run("x", "--thread", "no such thread").code == 2
    assert thread_of(result) == home.named
    assert "user: fix the parser" in run.inputs[0]


def test_a_fork_leaves_its_source_as_it_is(cli: Run, home: Home) -> None:
    before = cli("turns", home.named, "--json").json
    with agent(cli, Reply(Say("another way"))) as run:
        result = run("try again", "--fork", home.named, "--model", "m", "--cwd", ".")
    fork = thread_of(result)
    assert fork != home.named
    assert cli("turns", home.named, "--json").json == before
    assert len(cli("turns", fork, "--json").json["data"]) == 2
    assert cli("show", fork, "--json").json["cwd"] == os.getcwd()
    assert "user: fix the parser" in run.inputs[0]


def test_text_arrives_while_the_model_still_writes(home: Home) -> None:
    gate = threading.Event()
    reply = Reply(Say("early"), Pause(gate), Say("late"))
    with (
        ScriptedModelServer([reply]) as server,
        running(home, server, "Hi", "--model", "m") as process,
    ):
        assert process.stdout.readline() == b"early\n"
        assert process.poll() is None
        gate.set()
        assert process.communicate(timeout=60)[0] == b"late\n"


def test_tools_are_called_and_told(cli: Run) -> None:
    calls = Reply(Call("add", {"a": 1, "b": 2}), Call("shout", {"text": "hi"}), Call("add", "{"))
    with agent(cli, calls, Reply(Say("3"))) as run:
        result = run("1 + 2?", "--model", "m", "--tools", "run_tools:both")
    assert result.out == "3\n"
    assert [tool["name"] for tool in run.server.requests[0]["tools"]] == ["add", "shout"]
    outputs = [text for text in run.inputs[1] if text.startswith("function_call_output")]
    assert outputs[:2] == ["function_call_output: 3", "function_call_output: HI"]
    lines = result.err.splitlines()
    assert '· add {"a":1,"b":2}' in lines
    assert "· add → 3" in lines
    assert "· shout → HI" in lines
    assert any(line.startswith("· add failed → error: the arguments do not fit") for line in lines)
    assert all(len(line) <= 160 for line in lines)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("run_tools", "not MODULE:NAME"),
        ("no_such_module:x", "cannot import no_such_module: ModuleNotFoundError"),
        ("broken_tools:x", "cannot import broken_tools: ZeroDivisionError"),
        ("run_tools:multiply", "run_tools has no multiply"),
        ("run_tools:number", "expected a callable or a Tool, not 7"),
    ],
)
def test_tools_that_cannot_be_had_are_told(cli: Run, home: Home, name: str, said: str) -> None:
    with agent(cli) as run:
        result = run("x", "--model", "m", "--tools", name)
    assert (result.code, result.out, run.inputs) == (2, "", [])
    assert said in result.err
    assert "\nhint: " in result.err


def test_json_is_one_event_a_line_and_the_result_last(cli: Run) -> None:
    replies = Reply(Call("add", {"a": 1, "b": 2})), Reply(Say("It is 3.", chunk=4))
    with agent(cli, *replies) as run:
        result = run("1 + 2?", "--model", "m", "--tools", "run_tools:add", "--json")
    assert (result.code, result.err) == (0, "")
    events = [json.loads(line) for line in result.out.splitlines()]
    assert all(list(event)[:3] == ["thread_id", "turn_id", "type"] for event in events)
    assert len({(event["thread_id"], event["turn_id"]) for event in events}) == 1
    kinds = [event["type"] for event in events]
    assert kinds[0] == "task_started"
    assert kinds[-3:] == ["token_count", "task_complete", "result"]
    deltas = [e["delta"] for e in events if e["type"] == "agent_message_content_delta"]
    assert deltas == ["It i", "s 3."]
    last = events[-1]
    assert (last["status"], last["last_message"], last["error"]) == ("completed", "It is 3.", None)
    assert last["usage"]["output_tokens"] == 40


def test_a_failed_turn_is_code_six_and_the_thread_goes_on(cli: Run) -> None:
    refused = Http(400, {"error": {"message": "no such model"}})
    with agent(cli, refused, refused, Reply(Say("now"))) as run:
        result = run("Hi", "--model", "m")
        assert (result.code, result.out) == (6, "")
        assert "threadstore: the turn failed: HTTP 400: no such model\n" in result.err
        thread = thread_of(result)
        assert cli("turns", thread, "--json").json["data"][0]["status"] == "failed"

        result = run("again", "--thread", thread, "--json", "--quiet")
        assert result.code == 6
        last = json.loads(result.out.splitlines()[-1])
        assert last["status"] == "failed"
        assert last["error"] == {
            "message": "HTTP 400: no such model",
            "codex_error_info": "bad_request",
        }
        assert run("once more", "--thread", thread).out == "now\n"
    assert [text for text in run.inputs[2] if "environment" not in text] == [
        "user: Hi",
        "user: again",
        "user: once more",
    ]


def test_a_request_that_is_tried_again_is_told(cli: Run) -> None:
    with agent(
        cli, HangUp(), Reply(Say("half of it", chunk=4), cut_after=1), Reply(Say("all"))
    ) as run:
        result = run("Hi", "--model", "m")
    assert (result.code, result.out) == (0, "half\nall\n")
    assert "Reconnecting... 1/5: " in result.err
    assert "Reconnecting... 2/5: " in result.err
    assert len(cli("turns", thread_of(result), "--json").json["data"][0]["items"]) == 2


BAD = [
    ("", "--model", "m"),
    (" \n", "--model", "m"),
    ("x",),
    ("x", "--model", "m", "--image", "nowhere.png"),
    ("x", "--model", "m", "--cwd", "nowhere"),
    ("x", "--model", "m", "--api-key-env", "NOT_SET_ANYWHERE"),
    ("x", "--model", "m", "--context-window", "0"),
    ("x", "--model", "m", "--thread", "no such thread"),
    ("x", "--model", "m", "--thread", "PLAIN", "--fork", "PLAIN"),
    ("x", "--model", "m", "--thread", "PLAIN", "--ephemeral"),
    ("x", "--model", "m", "--thread", "Old story"),
]


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_bad_input_is_code_two_and_asks_nobody(cli: Run, home: Home, words: list[str]) -> None:
    before = cli("list", "--all").out
    with agent(cli) as run:
        result = run(*(home.plain if word == "PLAIN" else word for word in words))
    assert (result.code, result.out, run.inputs) == (2, "", [])
    assert result.err.startswith("threadstore: ")
    assert cli("list", "--all").out == before


def test_without_a_server_or_a_model_it_says_what_to_do(cli: Run) -> None:
    result = cli("run", "Hi", "--model", "m")
    assert result.code == 2
    assert "set OPENAI_API_KEY" in result.err
    with agent(cli) as run:
        result = run("Hi")
    assert result.code == 2
    assert "give --model NAME or set THREADSTORE_MODEL" in result.err


def test_the_environment_names_server_key_and_model(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedModelServer([Reply(Say("1")), Reply(Say("2"))]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-usual")
        monkeypatch.setenv("OTHER_KEY", "sk-other")
        monkeypatch.setenv("THREADSTORE_MODEL", "from-environment")
        assert cli("run", "Hi").out == "1\n"
        result = cli("run", "Hi", "--model", "named", "--api-key-env", "OTHER_KEY")
        assert result.out == "2\n"
    assert [request["model"] for request in server.requests] == ["from-environment", "named"]
    assert [headers["authorization"] for headers in server.headers] == [
        "Bearer sk-usual",
        "Bearer sk-other",
    ]


def test_effort_instructions_and_images_reach_the_model(cli: Run, surroundings: Path) -> None:
    (surroundings / "dot.png").write_bytes(b"png")
    with agent(cli, Reply(Say("ok"))) as run:
        words = ("--effort", "high", "--instructions", "Be brief.", "--image", "dot.png")
        assert run("What is this?", "--model", "m", *words).code == 0
    (request,) = run.server.requests
    assert request["reasoning"]["effort"] == "high"
    assert request["instructions"] == "Be brief."
    data = base64.b64encode(b"png").decode()
    assert f"data:image/png;base64,{data}" in json.dumps(request["input"])


def test_an_ephemeral_turn_is_stored_nowhere(cli: Run) -> None:
    before = cli("list", "--all").out
    with agent(cli, Reply(Say("ok"))) as run:
        result = run("Hi", "--model", "m", "--ephemeral")
    assert (result.code, result.out) == (0, "ok\n")
    assert "not stored" in result.err
    assert "go on with" not in result.err
    assert cli("list", "--all").out == before


def test_it_works_on_other_stores_and_says_how_to_go_on(cli: Run, tmp_path: Path) -> None:
    with agent(cli, Reply(Say("1")), Reply(Say("2"))) as run:
        assert run("Hi", "--model", "m", "--store", "memory:").out == "1\n"
        url = f"local:{tmp_path / 'another home'}"
        result = run("Hi", "--model", "m", "--store", url)
    thread = thread_of(result)
    assert f"go on with: threadstore --store '{url}' run --thread {thread} …" in result.err
    assert cli("--store", url, "list").rows[0][0] == thread


def test_the_prompt_can_come_from_a_pipe(home: Home) -> None:
    with (
        ScriptedModelServer([Reply(Say("A diff."))]) as server,
        running(home, server, "-", "--model", "m") as process,
    ):
        out, _ = process.communicate("naïve\n+ lines\n".encode(), timeout=60)
    assert (process.returncode, out) == (0, b"A diff.\n")
    assert server.requests[0]["input"][-1]["content"][0]["text"] == "naïve\n+ lines"


def test_ctrl_c_keeps_what_there_is(home: Home, cli: Run) -> None:
    reached, never = threading.Event(), threading.Event()
    replies = Reply(Say("half", chunk=2), Pause(never, reached)), Reply(Say("go on"))
    with agent(cli, *replies) as run:
        with running(home, run.server, "Hi", "--model", "m") as process:
            assert process.stdout.readline() == b"half\n"
            assert reached.wait(60)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, b"")
        assert b"interrupted; what there is is kept" in err
        assert b"Traceback" not in err
        thread = thread_of(Result(0, "", err.decode()))
        (turn,) = cli("turns", thread, "--json").json["data"]
        assert turn["status"] == "interrupted"
        assert turn["items"][-1]["text"] == "half"
        assert run("and?", "--thread", thread).out == "go on\n"
    assert "assistant: half" in run.inputs[1]


def test_a_second_ctrl_c_leaves_at_once(home: Home, cli: Run) -> None:
    words = ("Hi", "--model", "m", "--tools", "run_tools:block")
    with agent(cli, Reply(Call("block")), Reply(Say("go on"))) as run:
        with running(home, run.server, *words) as process:
            err = iter(process.stderr.readline, b"blocking\n")
            thread = thread_of(Result(0, "", b"".join(err).decode()))
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
        assert process.returncode == 130
        assert run("and?", "--thread", thread).out == "go on\n"


def test_a_reader_that_goes_away_ends_the_turn(home: Home, cli: Run) -> None:
    gate = threading.Event()
    reply = Reply(Say("early"), Pause(gate), *(Say("late" * 100) for _ in range(50)))
    with (
        ScriptedModelServer([reply]) as server,
        running(home, server, "Hi", "--model", "m") as process,
    ):
        assert process.stdout.readline() == b"early\n"
        process.stdout.close()
        gate.set()
        assert process.wait(60) == 141
        thread = thread_of(Result(0, "", process.stderr.read().decode()))
    assert cli("turns", thread, "--json").json["data"][0]["status"] == "interrupted"


def test_a_thread_that_somebody_writes_is_a_conflict(cli: Run, home: Home) -> None:
    async def while_open_elsewhere(run: Agent) -> Result:
        async with open_store(f"local:{home.path}") as store:
            await store.resume_thread(home.plain)
            return await asyncio.to_thread(run, "x", "--thread", home.plain, "--model", "m")

    with agent(cli) as run:
        assert asyncio.run(while_open_elsewhere(run)).code == 3


def test_a_turn_that_cannot_be_stored_is_code_four(cli: Run, tmp_path: Path) -> None:
    home = tmp_path / "full"
    home.mkdir()
    (home / "sessions").write_text("where the folder of the logs should be")
    with agent(cli, Reply(Say("ok"))) as run:
        result = run("Hi", "--model", "m", "--store", f"local:{home}")
    assert (result.code, result.out, run.inputs) == (4, "", [])
    assert "threadstore: the turn failed: " in result.err
    assert "go on with" not in result.err


QUESTION = {
    "id": "size",
    "header": "Size",
    "question": "How large?",
    "options": [
        {"label": "Small", "description": "fits anywhere"},
        {"label": "Large", "description": "has more room"},
    ],
}
ASKING = Reply(Call("request_user_input", {"questions": [QUESTION, {**QUESTION, "id": "again"}]}))


def output_of(request: Json) -> Any:
    return json.loads(request["input"][-1]["output"])


def test_the_model_asks_the_person_at_the_terminal(home: Home) -> None:
    with ScriptedModelServer([ASKING, Reply(Say("Large it is."))]) as server:
        words = ("run", "Order one", "--model", "m", "--ask", "--base-url", server.base_url)
        code, seen = Screen(home).run(*words, answer="2\nhuge\n")
    assert (code, "Large it is." in seen) == (0, True)
    assert "? Size: How large?\n  1. Small: fits anywhere\n  2. Large: has more room\n" in seen
    assert output_of(server.requests[1])["answers"] == {
        "size": {"answers": ["Large"]},
        "again": {"answers": ["huge"]},
    }


def test_an_open_question_does_not_hold_ctrl_c_up(home: Home, cli: Run) -> None:
    with ScriptedModelServer([ASKING]) as server:
        words = ("run", "Order one", "--model", "m", "--ask", "--base-url", server.base_url)
        process, ours = Screen(home).start(*words)
        seen = b""
        while b"own words: " not in seen:
            seen += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        os.close(ours)
        assert process.wait(60) == 130
    assert b"interrupted" in seen


def test_questions_that_nobody_can_answer_are_told_to_the_model(cli: Run) -> None:
    with agent(cli, ASKING, Reply(Say("I took the small one."))) as run:
        assert run("Order one", "--model", "m", "--ask").out == "I took the small one.\n"
    assert "nobody is there" in output_of(run.server.requests[1])["error"]


def test_tools_of_another_program_fail_for_the_model(cli: Run, home: Home) -> None:
    async def record(base_url: str) -> str:
        spec = {"name": "open_file", "description": "Opens.", "inputSchema": {"type": "object"}}
        new = NewThread(cwd="", dynamic_tools=(spec,))
        settings = SessionSettings(model="m")
        async with (
            OpenAIModel(base_url) as model,
            open_store(f"local:{home.path}") as store,
            ThreadManager(store) as threads,
            await Session.start(threads, new, model, settings=settings) as session,
        ):
            turn = await session.start_turn("Hi")
            assert (await turn.result()).status == "completed"
            return session.id

    with agent(cli, Reply(Say("Hi")), Reply(Call("open_file")), Reply(Say("I cannot."))) as run:
        thread = asyncio.run(record(run.server.base_url))
        result = run("Open it", "--thread", thread)
    assert result.out == "I cannot.\n"
    assert "open_file cannot be called here" in run.inputs[2][-1]


NO_OPENAI = """
import importlib.abc, sys
class NoOpenAI(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "openai":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoOpenAI())
"""


def test_without_the_package_the_extra_is_named(home: Home, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_OPENAI)
    argv = [
        sys.executable,
        "-m",
        "threadstore",
        "run",
        "Hi",
        "--model",
        "m",
        "--base-url",
        "http://127.0.0.1:1/v1",
    ]
    env = {**os.environ, "CODEX_HOME": str(home.path), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'threadstore[openai]'" in done.stderr
