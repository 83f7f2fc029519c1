"""``threadstore tail``: the end of a conversation, and what comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.cli.conftest import Home, Run
from tests.cli.test_export import rollout

from threadstore import open_store
from threadstore.testing import items


@contextmanager
def tailing(home: Home, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process of its own, until it is left."""
    argv = [sys.executable, "-m", "threadstore", "tail", *words]
    env = {**os.environ, "CODEX_HOME": str(home.path)}
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_end_of_a_conversation_is_shown(cli: Run, home: Home) -> None:
    result = cli("tail", home.plain, "--no-follow")
    assert result.code == 0
    assert [line.split(maxsplit=1) for line in result.out.splitlines()] == [
        ["user", "write the docs"],
        ["agent", "done"],
    ]
    assert cli("tail", home.plain, "--no-follow", "--last", "1").out.split() == ["agent", "done"]
    assert cli("tail", home.plain, "--no-follow", "--last", "0").out == ""
    assert cli("tail", home.empty, "--no-follow").out == ""


def test_json_is_the_history_as_it_stands(cli: Run, home: Home) -> None:
    stored = rollout(home, home.plain).read_text(encoding="utf-8")
    lines = stored.splitlines(keepends=True)
    assert cli("tail", home.plain, "--no-follow", "--json", "--after", "0").out == stored
    assert (
        cli("tail", home.plain, "--no-follow", "--json", "--last", "3").out.splitlines(
            keepends=True
        )
        == lines[-3:]
    )
    assert (
        cli("tail", home.plain, "--no-follow", "--json", "--after", "4").out.splitlines(
            keepends=True
        )
        == lines[4:]
    )


def test_a_call_of_a_tool_is_told_once(cli: Run, home: Home) -> None:
    with rollout(home, home.plain).open("ab") as file:
        for item in (
            items.function_call("c1", "shell", '{"command": ["ls", "-l"]}'),
            items.function_call_output("c1", "nothing"),
            items.function_call("c2", "shell", '{"command": ["pwd"]}'),
            items.turn_aborted(),
        ):
            file.write(item.encode("2026-03-04T05:06:07.000Z") + b"\n")
    said = cli("tail", home.plain, "--no-follow", "--last", "3").out.splitlines()
    assert [line.split(maxsplit=1) for line in said] == [
        ["tool", "$ ls -l"],
        ["tool", "$ pwd"],
        ["note", "turn interrupted"],
    ]


def test_damaged_lines_are_remarked(cli: Run, home: Home) -> None:
    with rollout(home, home.plain).open("ab") as file:
        file.write(b"not json\n")
    result = cli("tail", home.plain, "--no-follow", "--after", "0")
    assert "write the docs" in result.out
    assert "line 10 is left out" in result.err
    assert cli("tail", home.plain, "--no-follow", "--json", "--last", "0").out == "not json\n"


@pytest.mark.parametrize(
    "words", [("--last", "-1"), ("--after", "-1"), ("--last", "1", "--after", "1"), ("--last", "x")]
)
def test_nonsense_is_refused(cli: Run, home: Home, words: tuple[str, ...]) -> None:
    result = cli("tail", home.plain, *words)
    assert (result.code, result.out) == (2, "")
    assert cli("tail", "00000000-0000-7000-8000-000000000000").code == 2


async def test_what_another_process_adds_is_shown_until_ctrl_c(home: Home) -> None:
    with tailing(home, home.plain) as process:
        assert next_line(process).split() == [b"user", b"write", b"the", b"docs"]
        assert next_line(process).split() == [b"agent", b"done"]
        async with open_store(f"local:{home.path}") as store:
            await store.resume_thread(home.plain)
            for number in range(3):
                await store.append_items(home.plain, [items.user_message(f"go on {number}")])
                assert next_line(process).split() == [b"user", b"go", b"on", b"%d" % number]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


async def test_json_comes_line_by_line_until_the_thread_is_deleted(home: Home) -> None:
    with tailing(home, home.plain, "--json", "--last", "1") as process:
        assert json.loads(next_line(process))["payload"]["type"] == "task_complete"
        async with open_store(f"local:{home.path}") as store:
            await store.resume_thread(home.plain)
            await store.append_items(home.plain, [items.agent_message("new")])
            assert json.loads(next_line(process))["payload"]["message"] == "new"
            await store.shutdown_thread(home.plain)
            await store.delete_thread(home.plain)
        assert process.wait(30) == 2
        assert process.stderr is not None
        assert json.loads(process.stderr.read())["error"]["code"] == "thread_not_found"
