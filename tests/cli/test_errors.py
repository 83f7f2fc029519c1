"""Exit codes, and what is said when something goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Home, Result, Run
from tests.cli.test_doctor_tour import content
from tests.cli.test_export import rollout

from threadstore.cli.app import exit_code
from threadstore.errors import (
    Conflict,
    CorruptHistory,
    InvalidRequest,
    StoreUnavailable,
    ThreadNotFound,
    ThreadStoreError,
    Unsupported,
)
from threadstore.factory import open_store

Command = Callable[..., "subprocess.CompletedProcess[bytes]"]
UNKNOWN = "00000000-0000-7000-8000-000000000000"

BAD_INPUT = [
    (),
    ("--no-such-option",),
    ("no-such-command",),
    ("list", "--limit", "0"),
    ("list", "--limit", "-1"),
    ("list", "--limit", "many"),
    ("list", "--limit", "10001"),
    ("list", "--cursor", "garbage"),
    ("list", "--source", "nowhere"),
    ("list", "--sort", "name"),
    ("list", "--parent", "no such thread"),
    ("list", "--store", "what:ever"),
    ("list", "--store", "no url"),
    ("list", "--store", ""),
    ("list", "--store", "postgresql://host/db?pool_size=0"),
    ("show", UNKNOWN),
    ("show", "not UTF-8 \udcff"),
    ("show", "no such thread"),
    ("show", ""),
    ("show", " "),
    ("show", "fff"),
    ("show",),
    ("turns", UNKNOWN),
    ("turns", "PLAIN", "--limit", "0"),
    ("turns", "PLAIN", "--cursor", "garbage"),
    ("rename", UNKNOWN, "name"),
    ("rename", "PLAIN", ""),
    ("rename", "PLAIN", " \t "),
    ("rename", "PLAIN", "not UTF-8 \udcff"),
    ("set", "PLAIN"),
    ("set", UNKNOWN, "--git-branch", "main"),
    ("set", "PLAIN", "--git-branch", ""),
    ("set", "PLAIN", "--git-branch", "not UTF-8 \udcff"),
    ("set", "PLAIN", "--memory-mode", "sometimes"),
    ("archive", UNKNOWN),
    ("unarchive", UNKNOWN),
    ("delete", UNKNOWN, "--yes"),
    ("fork", UNKNOWN),
    ("fork", "PLAIN", "--name", ""),
    ("fork", "PLAIN", "--name", "not UTF-8 \udcff"),
    ("export", UNKNOWN),
    ("export", "PLAIN", "--format", "pdf"),
]


@pytest.mark.parametrize("words", BAD_INPUT, ids=" ".join)
def test_bad_input_is_code_two_with_a_hint_and_changes_nothing(
    cli: Run, home: Home, words: tuple[str, ...]
) -> None:
    cli("list")
    before = content(home.path)
    result = cli(*(home.plain if word == "PLAIN" else word for word in words))
    assert (result.code, result.out) == (2, "")
    first, *rest = result.err.splitlines()
    assert first.startswith("threadstore: ")
    assert len(first) > len("threadstore: ")
    assert [line[:6] for line in rest] in ([], ["hint: "])
    assert content(home.path) == before


def test_a_cursor_of_another_query_is_bad_input(cli: Run, home: Home) -> None:
    cursor = cli("list", "--limit", "1", "--json").json["nextCursor"]
    result = cli("list", "--asc", "--cursor", cursor)
    assert result.code == 2
    assert "another query" in result.err


def test_with_json_errors_are_json(cli: Run, home: Home) -> None:
    for words in (("show", UNKNOWN, "--json"), ("list", "--limit", "x", "--json")):
        result = cli(*words)
        assert (result.code, result.out) == (2, "")
        error = json.loads(result.err)["error"]
        assert list(error) == ["code", "message", "hint"]
    assert error["code"] == "invalid_request"


def test_a_home_that_is_a_file_is_bad_input(cli: Run, home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = cli("--store", f"local:{tmp_path / 'file'}", "list")
    assert result.code == 2
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ThreadNotFound(UNKNOWN), 2),
        (InvalidRequest("x"), 2),
        (Unsupported("x"), 2),
        (CorruptHistory("x"), 2),
        (Conflict("x"), 3),
        (StoreUnavailable("x"), 4),
        (ThreadStoreError("x"), 1),
    ],
)
def test_every_error_has_its_exit_code(error: ThreadStoreError, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize("words", [("delete", "--yes"), ("archive",)])
def test_a_thread_that_somebody_writes_is_a_conflict(
    cli: Run, home: Home, words: tuple[str, ...]
) -> None:
    async def while_open_elsewhere() -> Result:
        async with open_store(f"local:{home.path}") as store:
            await store.resume_thread(home.plain)
            return await asyncio.to_thread(cli, *words, home.plain)

    result = asyncio.run(while_open_elsewhere())
    assert result.code == 3
    assert home.plain in result.err


AS_ANOTHER_USER = """
import os, sys
from threadstore.cli import main
home, path, *words = sys.argv[1:]
os.environ["CODEX_HOME"] = home
assert main(words) == 0  # imports everything: the other user may not read the interpreter's files
os.chmod(path, 0)
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
sys.stdout.flush()
sys.exit(main(words))
"""


@pytest.mark.parametrize("words", [("turns",), ("export",), ("export", "--format", "jsonl")])
def test_a_file_that_must_not_be_read_is_bad_input(home: Home, words: tuple[str, ...]) -> None:
    path = rollout(home, home.plain)
    with tempfile.TemporaryDirectory() as folder:  # the usual one is the test user's alone
        os.chmod(folder, 0o755)
        moved = Path(folder, "home")
        shutil.copytree(home.path, moved)
        for entry in moved.rglob("*"):
            entry.chmod(0o755 if entry.is_dir() else 0o644)
        moved.chmod(0o755)
        path = moved / path.relative_to(home.path)
        argv = [sys.executable, "-c", AS_ANOTHER_USER, str(moved), str(path), *words, home.plain]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "Permission denied" in done.stderr


def test_an_unexpected_error_is_one_sentence_and_debug_shows_the_traceback(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(*_: object) -> int:
        raise ZeroDivisionError("by a bug")

    broken = types.SimpleNamespace(configure=lambda parser: None, run=run)
    monkeypatch.setitem(sys.modules, "threadstore.cli.commands.show", broken)
    result = cli("show")
    assert result.code == 1
    first, second = result.err.splitlines()
    assert first == "threadstore: unexpected ZeroDivisionError: by a bug"
    assert "--debug" in second
    assert "Traceback" in cli("--debug", "show").err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_under_the_output_is_told(command: Command, cli: Run, home: Home) -> None:
    with open("/dev/full", "wb") as full:
        result = command("list", stdout=full)
    assert result.returncode == 1
    assert result.stderr == b"threadstore: No space left on device\n"
    exported = cli("export", home.plain, "--output", "/dev/full", "--force")
    assert exported.code == 1
    assert exported.err == "threadstore: No space left on device\n"


def test_the_home_that_codex_home_links_to_is_named_as_codex_names_it(
    home: Home, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(home.path)
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "link"))
    assert cli("show", home.plain, "--json").json["path"].startswith(f"{home.path.resolve()}/")


def test_closed_streams_are_no_trouble(home: Home) -> None:
    line = f"{sys.executable} -m threadstore list <&- >&- 2>&-"
    env = {**os.environ, "CODEX_HOME": str(home.path)}
    assert subprocess.run(["/bin/sh", "-c", line], env=env, timeout=60, check=False).returncode == 0


def test_a_closed_pipe_is_quiet(command: Command) -> None:
    read, write = os.pipe()
    os.close(read)
    done = command("list", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_is_quiet(home: Home) -> None:
    """A FIFO in the place of the home's config.toml keeps the command waiting."""
    os.mkfifo(home.path / "config.toml")
    argv = [sys.executable, "-m", "threadstore", "list"]
    env = {**os.environ, "CODEX_HOME": str(home.path)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, env=env, stdout=pipe, stderr=pipe)
    with open(home.path / "config.toml", "wb"):  # opens when the command opens its end
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_name_that_drives_a_terminal_is_shown_harmless(cli: Run, home: Home) -> None:
    cli("rename", home.plain, "red \x1b[31m alert\x07 \u202eevil")
    assert cli("show", home.plain, "--json").json["name"] == "red \x1b[31m alert\x07 \u202eevil"
    for words in (("list",), ("show", home.plain), ("export", home.plain)):
        text = cli(*words).out
        assert "alert" in text
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_tabs_and_newlines_in_a_name_do_not_break_the_fields(cli: Run, home: Home) -> None:
    cli("rename", home.plain, "one\ttwo\nthree")
    row = next(row for row in cli("list").rows if row[0] == home.plain)
    assert len(row) == 6
    assert row[1] == "one two three"


def test_a_stream_that_is_not_utf_8_gets_escapes(command: Command, cli: Run, home: Home) -> None:
    cli("rename", home.plain, "naïve 你好")
    result = command("list", env={"PYTHONIOENCODING": "ascii"})
    assert result.returncode == 0
    assert b"na\\xefve \\u4f60\\u597d" in result.stdout
