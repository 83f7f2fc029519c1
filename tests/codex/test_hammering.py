"""Two threadstore processes and one Codex work on one home as fast as they can."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from tests.codex.app_server import AppServer, Json, write_config
from tests.codex.codex_hammer import EXPECTED, CodexHammer
from tests.codex.comparing import EVERYTHING, differences, facts, told
from tests.codex.hammer import LINES_WITH_TEXT
from tests.codex.ledger import Change, Ledger, last_values, values
from tests.codex.model_server import ModelServer
from tests.codex.releases import Release

from threadstore.factory import open_store
from threadstore.metadata import StoredThread
from threadstore.protocol.codex_thread import protocol_thread

pytestmark = [pytest.mark.codex, pytest.mark.timeout(900)]

SECONDS = float(os.environ.get("HAMMER_SECONDS", "60"))
NEWEST = Release(0, 169, 0)


async def test_three_processes_on_one_home_lose_nothing(model: ModelServer, tmp_path: Path) -> None:
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    ledgers = hammer(home, cwd)
    changes = [change for ledger in ledgers for change in ledger.changes]
    files = {path: path.read_bytes() for path in home.glob("*sessions/**/*.jsonl")}
    report(ledgers, files)

    assert [problem for ledger in ledgers for problem in ledger.problems] == []
    assert unexpected_errors(tmp_path / "app-server-stderr.log") == []
    check_files(files, changes)
    async with open_store(f"local:{home}") as store:
        page = await store.list_threads(EVERYTHING)
        ours = {thread.id: thread for thread in page.items}
        for thread_id in ours:
            assert (await store.load_history(thread_id)).damage == ()
    check_metadata(ours, changes, rows(home))
    with NEWEST.serve(home, cwd) as server:
        check_codex(server, ours, changes)


def unexpected_errors(log: Path) -> list[str]:
    """What Codex complained about, but for threads that somebody else held or moved."""
    lines = log.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "ERROR" in line and not EXPECTED.search(line)]


def check_files(files: dict[Path, bytes], changes: list[Change]) -> None:
    """Each line is whole, and each text is in its thread's file as often as it was written."""
    for path, data in files.items():
        assert data.endswith(b"\n"), path
        for line in data.splitlines():
            msgspec.json.decode(line)
    names = [path.name for path in files]
    assert len(names) == len(set(names))  # no file is in two places
    for thread_id, texts in values(changes, "text").items():
        (data,) = [data for path, data in files.items() if path.stem.endswith(thread_id)]
        for text in texts:
            assert data.count(f"{text}".encode()) == LINES_WITH_TEXT, (thread_id, text)


def rows(home: Path) -> dict[str, tuple[Any, ...]]:
    """What Codex's database says about each thread."""
    database = apsw.Connection(str(home / "state_5.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    with contextlib.closing(database):
        found = database.execute("SELECT id, title, name, git_branch, memory_mode FROM threads")
        return {row[0]: row for row in found}


def check_metadata(
    threads: dict[str, StoredThread], changes: list[Change], rows: dict[str, tuple[Any, ...]]
) -> None:
    """Each thread is as the last of those who changed it was told that it is."""
    found: dict[str, Callable[[StoredThread], str | None]] = {
        "name": lambda thread: thread.name,
        "branch": lambda thread: thread.git.branch if thread.git else None,
        "memory_mode": lambda thread: thread.memory_mode,
        "archived": lambda thread: "yes" if thread.archived else "no",
    }
    wrong = [
        f"{what} of {thread_id} ({threads[thread_id].history_mode}): {value(threads[thread_id])!r},"
        f" not one of {wanted}; its row: {rows.get(thread_id)}; what was done:\n"
        + "\n".join(sorted(map(str, (c for c in changes if c.thread == thread_id)), key=began))
        for what, value in found.items()
        for thread_id, wanted in last_values(changes, what).items()
        if value(threads[thread_id]) not in wanted
    ]
    assert wrong == []
    assert threads.keys() == values(changes, "text").keys()


def began(change: str) -> str:
    """To sort changes by their time."""
    return change.partition("began=")[2]


def check_codex(server: AppServer, ours: dict[str, StoredThread], changes: list[Change]) -> None:
    """Codex lists the same threads with the same facts, and reads every turn."""
    theirs: dict[str, Json] = {}
    for archived in (False, True):
        cursor = None
        while True:
            page = server.call("thread/list", archived=archived, cursor=cursor, limit=50)
            theirs |= {thread["id"]: thread for thread in page["data"]}
            assert all(ours[thread["id"]].archived is archived for thread in page["data"])
            cursor = page["nextCursor"]
            if cursor is None:
                break
    wanted = {thread_id: facts(protocol_thread(thread)) for thread_id, thread in ours.items()}
    assert theirs.keys() == ours.keys()
    for thread_id, thread in wanted.items():
        # Codex to 0.133 writes a time of its own into the row of a thread that somebody else made.
        if abs(thread["createdAt"] - theirs[thread_id]["createdAt"]) <= 1:
            thread["createdAt"] = theirs[thread_id]["createdAt"]
    assert differences(wanted, {key: facts(thread) for key, thread in theirs.items()}) == []
    for thread_id, texts in values(changes, "text").items():
        if not ours[thread_id].archived:
            server.call("thread/resume", threadId=thread_id)
            answer = server.call("thread/read", threadId=thread_id, includeTurns=True)
            said = [text for _, told_in in told(answer["thread"]["turns"]) for text in told_in]
            wanted_texts = sorted(said_by_user(text) for text in texts)
            assert sorted(text for text in said if text.startswith("text ")) == wanted_texts


def said_by_user(text: str) -> str:
    """The text of a turn with what Codex's has beside it for the model."""
    return f"{text} [scene plain]" if text.endswith("codex") else text


def hammer(home: Path, cwd: Path) -> list[Ledger]:
    """What all of them did and saw; Codex's ledger is the last."""
    command = [sys.executable, "-m", "tests.codex.hammer", str(home), str(cwd), str(SECONDS)]
    root = Path(__file__).parents[2]
    ours = [
        subprocess.Popen([*command, str(seed)], cwd=root, stdout=subprocess.PIPE) for seed in (1, 2)
    ]
    codex = CodexHammer(NEWEST, home, cwd, 3)
    try:
        codex.run(SECONDS)
        output = [process.communicate(timeout=60)[0] for process in ours]
    finally:
        for process in ours:
            process.kill()
            process.wait()
    assert [process.returncode for process in ours] == [0, 0]
    return [*(msgspec.json.decode(data, type=Ledger) for data in output), codex.ledger]


def report(ledgers: list[Ledger], files: dict[Path, bytes]) -> None:
    """For people: ``pytest -s``."""
    for who, ledger in zip(("threadstore", "threadstore", "Codex"), ledgers, strict=True):
        sys.stdout.write(f"\n{who}: {ledger.done}\n  refused: {ledger.refused}\n")
    lines = sum(data.count(b"\n") for data in files.values())
    sys.stdout.write(f"{len(files)} threads, {lines} lines\n")
