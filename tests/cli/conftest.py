"""A home with threads of every kind, and the command line run on it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from threadstore.cli import main
from threadstore.clock import UTC
from threadstore.factory import open_store
from threadstore.metadata import GitInfo
from threadstore.testing.clock import ManualClock
from threadstore.testing.seeds import empty_thread, record_thread, spawned_by


class Result(NamedTuple):
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """Its output as fields."""
        return [line.split("\t") for line in self.out.splitlines()]


Run = Callable[..., Result]


class Home(NamedTuple):
    """A Codex home and the ids of the threads in it."""

    path: Path
    named: str
    plain: str
    exec: str
    parent: str
    child: str
    empty: str
    archived: str


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Seven threads, used one minute after the other in the order of the fields."""
    return asyncio.run(_record(tmp_path / "home"))


async def _record(path: Path) -> Home:
    clock = ManualClock(dt.datetime(2026, 3, 4, 5, 0, tzinfo=UTC))
    async with open_store(f"local:{path}", clock=clock) as store:

        async def record(text: str, **new: Any) -> str:
            clock.advance(60)
            return (await record_thread(store, clock, text, **new)).id

        git = GitInfo(sha="0" * 40, branch="main", origin_url="https://git.example.test/a.git")
        named = await record(
            "fix the parser", name="Parser rewrite", cwd="/home/dev/parser", git=git
        )
        plain = await record("write the docs", cwd="/home/dev/docs", source="vscode")
        ran = await record("count the lines", source="exec", model_provider="other")
        parent = await record("ask a helper")
        child = await record("I am the helper", source=spawned_by(parent), parent_thread_id=parent)
        clock.advance(60)
        empty = (await empty_thread(store)).id
        archived = await record("an old story", name="Old story")
        await store.archive_thread(archived)
    return Home(path, named, plain, ran, parent, child, empty, archived)


@pytest.fixture
def bare_cli(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def run(*words: str) -> Result:
        capfd.readouterr()
        code = main(words)
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture
def cli(home: Home, monkeypatch: pytest.MonkeyPatch, bare_cli: Run) -> Run:
    """Run a command in this process, on *home* as the default home."""
    monkeypatch.setenv("CODEX_HOME", str(home.path))
    monkeypatch.delenv("CODEX_SQLITE_HOME", raising=False)
    return bare_cli


@pytest.fixture
def command(home: Home) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run a command in a process of its own, on *home* as the default home."""

    def run(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-m", "threadstore", *words]
        env = {**os.environ, "CODEX_HOME": str(home.path), **options.pop("env", {})}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, **options}
        return subprocess.run(argv, env=env, check=False, **options)

    return run
