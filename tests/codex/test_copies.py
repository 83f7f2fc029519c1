"""Homes of Codex, copied to PostgreSQL and from there to a new home: Codex goes on in that one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from tests.codex.app_server import RpcError, write_config
from tests.codex.comparing import differences, facts, told

from threadstore.copying import Copier, all_thread_ids
from threadstore.factory import open_store
from threadstore.manager import ThreadManager
from threadstore.metadata import NewThread
from threadstore.testing.items import turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.codex.app_server import AppServer, Json
    from tests.codex.cells import Cells
    from tests.codex.model_server import ModelServer
    from tests.codex.releases import Release

    from threadstore.testing.postgres_server import PostgresServer

USED_BEFORE = (
    "all of it, in a home in which the release was started once before: the names of paginated"
    " threads have no place but its own database"
)

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    name = postgres_server.new_database()
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


async def copy(source: str, destination: str) -> None:
    """Every thread from one store to another."""
    async with open_store(source) as here, open_store(destination) as there:
        ids = await all_thread_ids(here)
        failed = [one async for one in Copier(here, there).run(ids) if one.error is not None]
        assert failed == []


def rollouts(home: Path) -> dict[str, bytes]:
    """The bytes of every rollout, by file name."""
    return {path.name: path.read_bytes() for path in home.rglob("rollout-*")}


def record(server: AppServer, cwd: Path, mode: str) -> dict[str, str]:
    """Threads of the release: as they come, with a name, forked, put away, taken back."""
    ids = {
        name: server.start_thread(cwd, historyMode=mode)
        for name in ("plain", "named", "archived", "reverted")
    }
    for name, thread_id in ids.items():
        server.run_turn(thread_id, f"First words: {name} [scene plain]")
        server.run_turn(thread_id, "More words [scene plain]")
    server.call("thread/name/set", threadId=ids["named"], name="Named by Codex")
    forked = server.call("thread/fork", threadId=ids["plain"])["thread"]
    ids["forked"] = str(forked["id"])
    server.run_turn(ids["forked"], "In the fork [scene plain]")
    turn_id = server.run_turn(ids["reverted"], "To be taken back [scene plain]")
    if mode == "paginated":
        server.call("thread/revert", threadId=ids["reverted"], beforeTurnId=turn_id)
    else:
        with contextlib.suppress(RpcError):  # 0.169 knows it no more
            server.call("thread/rollback", threadId=ids["reverted"], numTurns=1)
    server.run_turn(ids["reverted"], "Said instead [scene plain]")
    server.call("thread/archive", threadId=ids["archived"])
    return ids


def listed(server: AppServer) -> dict[str, Json]:
    """What the lists say from the database, archived threads too.

    The list from the files takes the preview of a fork from the newest of them alone (0.169).
    """
    server.call("thread/list", limit=100)
    pages = [
        server.call("thread/list", limit=100, archived=flag, useStateDbOnly=True)["data"]
        for flag in (False, True)
    ]
    return {
        thread["id"]: {**facts(thread), "updatedAt": thread["updatedAt"]}
        for page in pages
        for thread in page
    }


def said(server: AppServer, thread_id: str) -> list[tuple[str, list[str]]]:
    """The turns as the release tells them once it has opened the thread."""
    if not server.call("thread/resume", threadId=thread_id)["thread"]["turns"]:
        return []
    return told(
        server.call("thread/read", threadId=thread_id, includeTurns=True)["thread"]["turns"]
    )


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_home_of_codex_moves_through_postgresql(
    mode: str,
    release: Release,
    cells: Cells,
    model: ModelServer,
    database: str,
    tmp_path: Path,
) -> None:
    row = f"home copied to PostgreSQL and to a new home ({mode})"
    if mode not in release.modes:
        cells.unsupported("theirs", row, "makes legacy threads only")
        return
    first, second, cwd = tmp_path / "first", tmp_path / "second", tmp_path / "work"
    cwd.mkdir()
    write_config(first, model.url)
    write_config(second, model.url)
    with release.serve(first, cwd) as server:
        ids = record(server, cwd, mode)
    if mode == "paginated":  # their names are in its database only, in a column that it adds
        with release.serve(second, cwd) as server:
            server.call("thread/list")
    await copy(f"local:{first}", database)
    await copy(database, f"local:{second}")

    before, after = rollouts(first), rollouts(second)
    if mode == "paginated":  # two files of one thread are one now
        before = {name: data for name, data in before.items() if ids["reverted"] not in name}
        (merged,) = [name for name in after if ids["reverted"] in name]
        del after[merged]
    assert after == before
    with release.serve(first, cwd) as server:
        lists = listed(server)
        turns = {name: said(server, ids[name]) for name in ids if name != "archived"}
    with release.serve(second, cwd) as server:
        copies = listed(server)
        # A database that Codex fills from files gives each thread a millisecond of its own.
        for thread_id, thread in copies.items():
            assert abs(thread.pop("updatedAt") - lists[thread_id].pop("updatedAt")) <= 1
        assert differences(lists, copies) == []
        for name, known in turns.items():
            assert said(server, ids[name]) == known, name
            server.run_turn(ids[name], "After the move [scene plain]")
    async with open_store(f"local:{second}") as store:
        for name in turns:
            history = await store.load_history(ids[name])
            assert history.damage == ()
            assert b"After the move" in b"".join(item.line() for item in history.items)
    if mode == "legacy":
        cells.works("theirs", row)
    else:
        cells.differs("theirs", row, USED_BEFORE)


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_threads_made_in_postgresql_are_continued_by_codex(
    mode: str,
    release: Release,
    cells: Cells,
    model: ModelServer,
    database: str,
    tmp_path: Path,
) -> None:
    row = f"threads and forks made in PostgreSQL, copied to a home ({mode})"
    if mode not in release.modes:
        cells.unsupported("ours", row, "makes legacy threads only")
        return
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    async with open_store(database) as store, ThreadManager(store) as manager:
        new = NewThread(
            cwd=str(cwd),
            source="vscode",
            model_provider="scripted",
            history_mode="legacy" if mode == "legacy" else "paginated",
        )
        live = await manager.create(new)
        await live.append_items(turn("turn-1", "Asked in the database", "Answered", cwd=str(cwd)))
        fork = await manager.fork(live.id)
        await fork.append_items(turn("turn-2", "Asked in the fork", "Answered", cwd=str(cwd)))
        ids = (live.id, fork.id)
        assert await store.history_base(fork.id) is not None
    await copy(database, f"local:{home}")
    with release.serve(home, cwd) as server:
        assert set(listed(server)) == set(ids)
        for thread_id, asked in zip(ids, (1, 2), strict=True):
            turns = said(server, thread_id)
            assert [words[0] for _, words in turns] == [
                "Asked in the database",
                "Asked in the fork",
            ][:asked]
            server.run_turn(thread_id, "After the move [scene plain]")
            assert len(said(server, thread_id)) == asked + 1
    cells.works("ours", row)
