"""``threadstore copy``: what it prints, how it ends, and that it can be interrupted."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Home, Run

from threadstore.factory import open_store
from threadstore.metadata import NewThread, StoredThread
from threadstore.queries import ThreadQuery
from threadstore.testing import items


def _threads(path: Path) -> dict[str, StoredThread]:
    async def read() -> dict[str, StoredThread]:
        async with open_store(f"local:{path}") as store:
            page = await store.list_threads(ThreadQuery(archived=None, limit=100))
            return {thread.id: thread for thread in page.items}

    return asyncio.run(read())


def _append(path: Path, thread_id: str) -> None:
    async def append() -> None:
        async with open_store(f"local:{path}") as store:
            await store.resume_thread(thread_id)
            await store.append_items(thread_id, [items.agent_message("more")])

    asyncio.run(append())


def test_all_threads_of_a_home_go_to_a_folder(cli: Run, home: Home, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    first = cli("copy", "local:", str(target), "--all")
    assert first.code == 0, first.err
    assert len(first.rows) == 7
    assert {row[1] for row in first.rows} == {"copied"}
    here, there = _threads(home.path), _threads(target)
    assert there.keys() == here.keys()
    assert there[home.named].name == "Parser rewrite"
    assert there[home.archived].archived
    names = [path.name for path in home.path.rglob("rollout-*")]
    assert sorted(path.name for path in target.rglob("rollout-*")) == sorted(names)
    again = cli("copy", "local:", str(target), "--all")
    assert {(row[1], row[2]) for row in again.rows} == {("unchanged", "0")}


def test_one_thread_is_chosen_by_name(cli: Run, home: Home, tmp_path: Path) -> None:
    result = cli("copy", "local:", str(tmp_path / "copy"), "--thread", "Parser rewrite")
    assert [row[:2] for row in result.rows] == [[home.named, "copied"]]
    assert list(_threads(tmp_path / "copy")) == [home.named]


def test_a_dry_run_makes_nothing(cli: Run, home: Home, tmp_path: Path) -> None:
    result = cli("copy", "local:", str(tmp_path / "copy"), "--all", "--dry-run")
    assert {row[1] for row in result.rows} == {"copied"}
    assert not list(tmp_path.joinpath("copy").rglob("rollout-*"))


def test_a_failure_is_told_and_stops_nobody(cli: Run, home: Home, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    cli("copy", "local:", str(target), "--thread", home.named)
    _append(target, home.named)
    result = cli("copy", "local:", str(target), "--all", "--json")
    assert result.code == 3
    by_id = {one["threadId"]: one for one in result.json["data"]}
    assert by_id[home.named]["result"] == "failed"
    assert by_id[home.named]["error"]["code"] == "conflict"
    assert by_id[home.plain]["result"] == "copied"
    assert by_id[home.plain]["newLines"] > 0


def test_an_unknown_thread_is_refused_before_anything(cli: Run, home: Home, tmp_path: Path) -> None:
    result = cli("copy", "local:", str(tmp_path / "copy"), "--thread", "nobody knows")
    assert result.code == 2
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("words", [["--all", "--thread", "x"], []])
def test_either_all_or_some(cli: Run, tmp_path: Path, words: list[str]) -> None:
    assert cli("copy", "local:", str(tmp_path / "copy"), *words).code == 2


def test_a_store_is_not_copied_to_itself(cli: Run, home: Home) -> None:
    result = cli("copy", "local:", str(home.path), "--all")
    assert result.code == 2
    assert "one store" in result.err


def test_two_homes_never_share_databases(
    cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_SQLITE_HOME", str(tmp_path / "sqlite"))
    result = cli("copy", "local:", str(tmp_path / "copy"), "--all")
    assert result.code == 2
    assert "CODEX_SQLITE_HOME" in result.err


def test_an_interrupted_copy_goes_on_where_it_was(home: Home, tmp_path: Path) -> None:
    async def fill() -> None:
        async with open_store(f"local:{home.path}") as store:
            for _ in range(60):
                thread = await store.create_thread(NewThread(cwd="/repo"))
                await store.append_items(thread.id, [items.agent_message("x")] * 50)
                await store.shutdown_thread(thread.id)

    asyncio.run(fill())
    target = tmp_path / "copy"
    command = [sys.executable, "-m", "threadstore", "copy", str(home.path), str(target), "--all"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ})
    while process.poll() is None and len(list(target.rglob("rollout-*"))) < 5:
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"goes on from there" in err
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    results = [line.split(b"\t")[1] for line in done.stdout.splitlines()]
    assert len(results) == 67
    assert b"failed" not in results
    assert {b"unchanged", b"copied"} <= set(results)
