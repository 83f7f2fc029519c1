"""Codex is killed in the middle of a turn; a thread made in another zone is Codex's as well."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from tests.codex.app_server import write_config
from tests.codex.cells import Cells
from tests.codex.comparing import told
from tests.codex.model_server import ANSWERS, ModelServer
from tests.codex.releases import Release
from tests.codex.test_at_the_same_time import (
    BY_US,
    FIRST,
    FIRST_WITH_LOCKS,
    OPEN,
    busy_codex,
    continue_it,
    turns,
)
from tests.faults.test_clocks import in_zone

from threadstore.factory import open_store

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]


async def test_a_thread_whose_codex_was_killed_goes_on(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    for mode in release.modes:
        with busy_codex(release, model, tmp_path / mode, mode) as busy:
            busy.server.kill()
        lock = busy.home / "thread-writer-locks" / f"{busy.thread_id}.lock"
        assert lock.exists() is (release >= FIRST_WITH_LOCKS)
        async with open_store(busy.url) as store:
            (listed,) = (await store.list_threads()).items
            assert listed == await store.read_thread(busy.thread_id)
            assert told(await turns(store, busy.thread_id)) == OPEN
            await continue_it(store, busy)
            assert not lock.exists()
        with release.serve(busy.home, busy.cwd) as server:
            server.call("thread/resume", threadId=busy.thread_id)
            server.run_turn(busy.thread_id, FIRST)
            everything = [*OPEN, BY_US, ("completed", [FIRST, ANSWERS["plain"]])]
            assert told(busy.read(server)["turns"]) == everything
        async with open_store(busy.url) as store:
            assert told(await turns(store, busy.thread_id)) == everything
        cells.works("together", f"{mode} thread goes on after Codex was killed in a turn")


ZONES = {
    "Asia/Kolkata": ["2026-03-04T20:00:00+00:00"],
    "America/St_Johns": [  # an hour that the clocks have twice
        "2026-11-01T03:45:00+00:00",
        "2026-11-01T04:45:00+00:00",
    ],
}


@pytest.mark.parametrize("database", ["ours", "none"])
def test_threads_made_in_another_zone_have_the_right_times(
    database: str, release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    cwd = tmp_path / "work"
    cwd.mkdir()
    for zone, moments in ZONES.items():
        home = tmp_path / zone.replace("/", "-")
        said = in_zone(zone, home, moments)
        write_config(home, model.url)
        if database == "none":
            for path in home.glob("state_5.sqlite*"):
                path.unlink()
        with release.serve(home, cwd) as server:
            page = server.call(
                "thread/list",
                sourceKinds=["cli", "vscode", "exec", "appServer", "unknown"],
                modelProviders=[],
            )
            wanted = {
                thread_id: int(dt.datetime.fromisoformat(moment).timestamp())
                for (thread_id, _), moment in zip(said, moments, strict=True)
            }
            assert {thread["id"]: thread["createdAt"] for thread in page["data"]} == wanted
    cells.works("ours", "thread made in another time zone, and in the hour the clocks go back")
