"""One home, used in turn by an older Codex, us, a newer Codex, us, and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.codex.app_server import write_config
from tests.codex.comparing import EVERYTHING, differences, facts, memory_modes, our_turns, told
from tests.codex.model_server import ANSWERS, ModelServer
from tests.codex.releases import DEFAULT, Release
from tests.codex.turns import our_turn

from threadstore.factory import open_store
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfo, GitInfoPatch, NewThread, ThreadMetadataPatch
from threadstore.protocol.codex_thread import protocol_thread

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.cells import Cells

    from threadstore.metadata import StoredThread

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

OLDEST, NEWEST = (Release.parse(word) for word in DEFAULT.split())
GIT = GitInfo(sha="0" * 40, branch="main", origin_url="https://git.example.test/a.git")
ALL_EDITED = ThreadMetadataPatch(
    name="All edited", git=GitInfoPatch(branch="edited"), memory_mode="disabled"
)
FORGETS_MODE = (
    "it does not list paginated threads, and puts their memory mode back to what the log says; name"
    " and git facts stay"
)
BY_US = ("completed", ["A turn by us", "Answered by us"])
BY_CODEX = ("completed", ["Codex is here [scene plain]", ANSWERS["plain"]])


class Known(msgspec.Struct):
    """What must be there of a thread from now on."""

    thread: StoredThread
    turns: list[tuple[str, list[str]]]


class Alternation:
    """A home and what everybody has put into it so far."""

    def __init__(self, home: Path, cwd: Path) -> None:
        self.home = home
        self.cwd = cwd
        self.known: dict[str, Known] = {}
        self._steps = 0

    async def by_us(self) -> None:
        """Everything is there; then a turn in each thread, and new threads with every edit."""
        await self._check()
        self._steps += 1
        async with open_store(f"local:{self.home}") as store, ThreadManager(store) as manager:
            for thread_id, known in self.known.items():
                if not known.thread.archived:
                    live = await manager.resume(thread_id)
                    assert isinstance(live, LiveThread)
                    await live.append_items(our_turn(thread_id, "legacy", str(self.cwd)))
                    known.turns.append(BY_US)
            for words in ("plain", "edited", "archived"):
                await self._make(manager, words)
            await manager.close()
        await self._learn()

    async def _make(self, manager: ThreadManager, words: str) -> None:
        new = NewThread(cwd=str(self.cwd), source="vscode", git=GIT)
        live = await manager.create(new)
        text = f"Thread {words} of step {self._steps} by us"
        await live.append_items(our_turn(live.id, "legacy", str(self.cwd), text))
        if words != "plain":
            await manager.update_thread_metadata(live.id, ALL_EDITED)
        if words == "archived":
            await manager.archive(live.id)
        turns = [("completed", [text, "Answered by us"])]
        self.known[live.id] = Known(await manager.read(live.id), turns)

    async def by_codex(self, release: Release) -> None:
        """The same by a release, which must list and read every thread as we do."""
        self._steps += 1
        with release.serve(self.home, self.cwd) as server:
            for archived in (False, True):
                answer = server.call(
                    "thread/list", archived=archived, limit=100, sourceKinds=["vscode"]
                )
                ours = {
                    thread_id: facts(protocol_thread(known.thread))
                    for thread_id, known in self.known.items()
                    if known.thread.archived is archived
                }
                listed = {thread["id"]: facts(thread) for thread in answer["data"]}
                assert sorted(listed) == sorted(ours)
                assert differences(ours, listed) == [], f"step {self._steps}, {release}"
            for thread_id, known in self.known.items():
                read = server.call("thread/read", threadId=thread_id, includeTurns=True)
                assert told(read["thread"]["turns"]) == known.turns
                if not known.thread.archived:
                    server.call("thread/resume", threadId=thread_id)
                    server.run_turn(thread_id, "Codex is here [scene plain]")
                    known.turns.append(BY_CODEX)
            made = server.start_thread(self.cwd, historyMode="legacy")
            text = f"A thread of step {self._steps} by Codex"
            server.run_turn(made, f"{text} [scene plain]")
            server.call("thread/name/set", threadId=made, name=f"Named in step {self._steps}")
            server.call("thread/metadata/update", threadId=made, gitInfo={"branch": "by-codex"})
            server.call("thread/memoryMode/set", threadId=made, mode="disabled")
        async with open_store(f"local:{self.home}") as store:
            thread = await store.read_thread(made)
        assert (thread.name, thread.memory_mode) == (f"Named in step {self._steps}", "disabled")
        assert thread.git is not None
        assert thread.git.branch == "by-codex"
        turns = [("completed", [f"{text} [scene plain]", ANSWERS["plain"]])]
        self.known[made] = Known(thread, turns)
        await self._check()

    async def _check(self) -> None:
        """We find every thread with every fact and turn, and so does the table."""
        async with open_store(f"local:{self.home}") as store:
            page = await store.list_threads(EVERYTHING)
        now = {thread.id: thread for thread in page.items}
        assert now.keys() == self.known.keys()
        for thread_id, known in self.known.items():
            then, thread = facts(protocol_thread(known.thread)), now[thread_id]
            found = facts(protocol_thread(thread))
            assert differences({thread_id: then}, {thread_id: found}) == [], self._steps
            assert thread.memory_mode == known.thread.memory_mode
            assert thread.archived is known.thread.archived
            assert told(await our_turns(self.home, thread_id)) == known.turns

    async def _learn(self) -> None:
        """Our own writes are read back as they were, and stand in Codex's table where rows are."""
        await self._check()
        for thread_id, mode in memory_modes(self.home).items():
            assert mode == self.known[thread_id].thread.memory_mode

    def forget_database(self) -> None:
        """Delete Codex's database, as users do when something is odd."""
        for path in self.home.glob("state_5.sqlite*"):
            path.unlink()


@pytest.mark.parametrize("maker", ["codex", "us"])
async def test_releases_and_we_use_one_home_in_turn(
    maker: str, release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    alternation = Alternation(home, cwd)
    if maker == "us":
        await alternation.by_us()
    others = [other for other in (OLDEST, NEWEST) if other != release]
    for user in (release, *others, release):
        await alternation.by_codex(user)
        await alternation.by_us()
    row = "state database made by {}, used by us and by 0.131.0 and 0.169.0 in turn"
    cells.works("together", row.format("us" if maker == "us" else "this release"))


async def test_a_deleted_database_costs_nobody_anything(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    alternation = Alternation(home, cwd)
    other = OLDEST if release == NEWEST else NEWEST
    await alternation.by_us()
    await alternation.by_codex(release)
    alternation.forget_database()
    await alternation.by_us()  # the database is made by us
    await alternation.by_codex(other)
    alternation.forget_database()
    await alternation.by_codex(release)  # it is made by this release
    await alternation.by_us()
    cells.works("together", "state database deleted twice, made again by us and by Codex")


async def test_an_older_release_on_paginated_threads_loses_nothing(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    with NEWEST.serve(home, cwd) as server:
        made = server.start_thread(cwd, historyMode="paginated")
        server.run_turn(made, "Codex is here [scene plain]")
        server.call("thread/name/set", threadId=made, name="Paginated")
        server.call("thread/metadata/update", threadId=made, gitInfo={"branch": "edited"})
        server.call("thread/memoryMode/set", threadId=made, mode="disabled")
    async with open_store(f"local:{home}") as store:
        before = await store.read_thread(made)
    with release.serve(home, cwd) as server:
        answer = server.call("thread/list", limit=100, sourceKinds=["vscode"])
        listed = {thread["id"]: facts(thread) for thread in answer["data"]}
    async with open_store(f"local:{home}") as store:
        after = await store.read_thread(made)
    assert facts(protocol_thread(after)) == facts(protocol_thread(before))
    assert (before.name, before.memory_mode) == ("Paginated", "disabled")
    assert told(await our_turns(home, made)) == [BY_CODEX]
    row = "paginated: made and edited by 0.169.0, listed by this release"
    if "paginated" in release.modes or listed:  # 0.144 reads them and makes none yet
        assert after == before
        assert differences({made: facts(protocol_thread(before))}, listed) == []
        cells.works("together", row)
    else:
        assert after.memory_mode == "enabled"
        cells.differs("together", row, FORGETS_MODE)
