"""The first index of a home without a database, beside the real Codex doing the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.codex.app_server import AppServer, write_config
from tests.codex.install import codex_binary

from benchmarks.homes import make_home
from benchmarks.measure import Result, in_turn, seconds

CODEX: Final = "0.131.0"
THREADS: Final = 10_000
DATABASES: Final = ("state_5.sqlite", "threadstore_1.sqlite", "logs_2.sqlite")


def first_index(folder: str) -> Iterator[Result]:
    """From the start of the program to its first list, less the same on an empty home."""
    full, empty = os.path.join(folder, "full"), os.path.join(folder, "empty")
    make_home(full, THREADS)
    os.makedirs(empty)
    for home in (full, empty):
        write_config(Path(home), "http://127.0.0.1:9/v1")
    binary = codex_binary(CODEX)

    def per_file(start: Callable[[str], float]) -> float:
        for home in (full, empty):
            _forget_databases(home)
        return (start(full) - start(empty)) / THREADS

    def codex(home: str) -> float:
        def run() -> None:
            with AppServer(binary, Path(home), Path(home), patience=300.0) as server:
                server.call("thread/list", limit=50, modelProviders=[], useStateDbOnly=True)

        return seconds(run)

    ours, limit = in_turn(lambda: per_file(_list), lambda: per_file(codex), best=min, rounds=3)
    yield Result(
        name=f"first index of {THREADS:,}, per file / Codex {CODEX}",
        ours=ours,
        limit=limit,
        unit="s",
        goal=1.0,
        higher_is_better=False,
    )


def _list(home: str) -> float:
    command = [sys.executable, "-m", "threadstore", "--store", f"local:{home}"]
    arguments = ["list", "--limit", "50", "--json"]
    return seconds(
        lambda: subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)
    )


def _forget_databases(home: str) -> None:
    for name in os.listdir(home):
        if name.startswith(DATABASES):
            os.unlink(os.path.join(home, name))
    shutil.rmtree(os.path.join(home, "db-backups"), ignore_errors=True)


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [first_index]
