"""What people see: tables, footers and questions on a real terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Home, Run
from tests.cli.test_export import rollout

from threadstore.factory import open_store
from threadstore.history.items import RolloutItem

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A terminal, of 100 columns if nothing else is said."""

    def __init__(self, home: Home, *, without_rich: Path | None = None) -> None:
        self._env = {
            **os.environ,
            "CODEX_HOME": str(home.path),
            "TERM": "xterm",
            "HOME": "/home/dev",
        }
        self._env.pop("COLUMNS", None)
        if without_rich is not None:
            # A finder that knows no such module, first in line in the child.
            (without_rich / "sitecustomize.py").write_text(NO_RICH)
            path = os.environ.get("PYTHONPATH")
            self._env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(without_rich), path]))

    def run(self, *words: str, answer: str = "", columns: int = 100, **env: str) -> tuple[int, str]:
        """The exit code and what stood on the screen, without colours."""
        process, ours = self.start(*words, columns=columns, **env)
        os.write(ours, answer.encode())
        seen = _read_all(ours)
        return process.wait(timeout=60), ESCAPES.sub("", seen).replace("\r\n", "\n")

    def start(
        self, *words: str, columns: int = 100, **env: str
    ) -> tuple[subprocess.Popen[bytes], int]:
        """The running command, and our end of its terminal."""
        ours, theirs = pty.openpty()
        os.set_blocking(ours, True)
        _resize(theirs, columns)
        process = subprocess.Popen(
            [sys.executable, "-m", "threadstore", *words],
            env={**self._env, **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        return process, ours


NO_RICH = """
import importlib.abc, sys
class NoRich(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "rich":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoRich())
"""


def _resize(terminal: int, columns: int) -> None:
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))


def _read_all(terminal: int) -> str:
    chunks = []
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(terminal)
    return b"".join(chunks).decode()


@pytest.fixture(params=["rich", "plain"])
def screen(request: pytest.FixtureRequest, home: Home, tmp_path: Path) -> Screen:
    """A terminal with the ``rich`` extra, and one without."""
    if request.param == "rich":
        return Screen(home)
    folder = tmp_path / "site"
    folder.mkdir()
    return Screen(home, without_rich=folder)


def test_a_list_is_a_table_that_fits_the_screen(screen: Screen, home: Home) -> None:
    code, seen = screen.run("list")
    assert code == 0
    assert all(len(line) <= 100 for line in seen.splitlines())
    (row,) = [line for line in seen.splitlines() if "Parser rewrite" in line]
    assert home.named[:13] in row
    assert home.named not in row
    assert "~/parser" in row
    assert "main" in row
    assert "2026-03-04" in row or "ago" in row
    head = seen.lower()
    for name in ("id", "name", "updated", "directory", "source", "branch"):
        assert name in head


def test_long_names_and_wide_characters_are_cut(screen: Screen, cli: Run, home: Home) -> None:
    cli("rename", home.plain, "名前" * 100)
    _, seen = screen.run("list")
    (row,) = [line for line in seen.splitlines() if "名前" in line]
    assert "…" in row


def test_on_a_narrow_screen_ids_and_names_stay_readable(screen: Screen, home: Home) -> None:
    seen = screen.run("list", columns=45)[1]
    assert all(len(line) <= 45 for line in seen.splitlines())
    (row,) = [line for line in seen.splitlines() if "Parser rewrite" in line]
    assert home.named[:13] in row
    assert "directory" not in seen.lower()


def test_a_screen_that_knows_only_ascii_gets_the_list(screen: Screen, cli: Run, home: Home) -> None:
    cli("rename", home.plain, "名前" * 100)
    code, seen = screen.run("list", PYTHONIOENCODING="ascii")
    assert code == 0
    assert seen.isascii()
    assert "Parser rewrite" in seen


def test_an_empty_list_says_so(screen: Screen) -> None:
    code, seen = screen.run("list", "--search", "no such words")
    assert code == 0
    assert "no such threads" in seen


def test_markup_in_a_name_is_shown_as_it_is(screen: Screen, cli: Run, home: Home) -> None:
    cli("rename", home.plain, "[bold]plain[/bold]")
    assert "[bold]plain[/bold]" in screen.run("list")[1]


def test_facts_and_turns_are_readable(screen: Screen, home: Home) -> None:
    assert re.search(r"^name +Parser rewrite$", screen.run("show", home.named)[1], re.MULTILINE)
    assert re.search(r"^  user +fix the parser$", screen.run("turns", home.named)[1], re.MULTILINE)


def test_long_lines_of_a_conversation_stay_in_their_column(screen: Screen, home: Home) -> None:
    said = RolloutItem("event_msg", {"type": "user_message", "message": "many words " * 50})

    async def say() -> None:
        async with open_store(f"local:{home.path}") as store:
            await store.resume_thread(home.plain)
            await store.append_items(home.plain, [said])

    asyncio.run(say())
    rows = screen.run("turns", home.plain, columns=60)[1].splitlines()
    assert all(len(row) <= 60 for row in rows)
    told = [row for row in rows if "words" in row]
    assert len(told) > 8
    assert {row[:10] for row in told} == {"  user    ", " " * 10}


def test_json_is_indented(screen: Screen, home: Home) -> None:
    assert f'\n  "id": "{home.named}"' in screen.run("show", home.named, "--json")[1]


def test_findings_are_counted_and_told_with_their_reasons(
    screen: Screen, cli: Run, home: Home
) -> None:
    cli("delete", home.empty, "--yes")
    assert "nothing found" in screen.run("doctor")[1]
    with rollout(home, home.plain).open("ab") as file:
        file.write(b"not json\n")
    code, seen = screen.run("doctor")
    assert code == 5
    assert re.search(r"damaged_line\W+error\W+1\b", seen)
    assert str(rollout(home, home.plain)) in seen.replace("\n", "")


def test_delete_asks_and_counts_the_sub_agents(screen: Screen, cli: Run, home: Home) -> None:
    code, seen = screen.run("delete", home.parent, answer="n\n")
    assert code == 0
    assert "and 1 sub-agent? [y/N]" in seen
    assert "nothing deleted" in seen
    assert cli("show", home.parent).code == 0
    code, seen = screen.run("delete", home.parent, answer="y\n")
    assert code == 0
    assert "deleted 2 threads" in seen
    assert cli("show", home.parent).code == 2


def test_ctrl_c_answers_a_question(screen: Screen, cli: Run, home: Home) -> None:
    process, terminal = screen.start("delete", home.parent)
    seen = b""
    while b"[y/N]" not in seen:
        seen += os.read(terminal, 1000)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    os.close(terminal)
    assert cli("show", home.parent).code == 0
