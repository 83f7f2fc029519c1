"""What Codex says about a home before and after threadstore has been there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.codex.answers import (
    Answers,
    LiveHome,
    about,
    asked,
    changes,
    live_home,
    others,
    places,
    settled,
    threads,
    unequal,
)
from tests.codex.app_server import write_config
from tests.codex.comparing import SHOWN_AFTER_RESUME, memory_modes, told
from tests.codex.releases import Release
from tests.codex.turns import our_turn
from tests.golden_homes import LABELS, load

from threadstore.factory import open_store
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfoPatch, ThreadMetadataPatch
from threadstore.queries import SortKey, ThreadQuery

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.app_server import Json
    from tests.codex.cells import Cells

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

_homes: dict[Release, LiveHome] = {}


@pytest.fixture
def live(release: Release, tmp_path_factory: pytest.TempPathFactory) -> LiveHome:
    """The release's own home as it left it, made once."""
    if release not in _homes:
        folder = tmp_path_factory.mktemp(f"home-{release}")
        _homes[release] = live_home(release, folder)
    _homes[release].restore()
    return _homes[release]


def files_of_codex(home: Path) -> dict[str, tuple[str, int]]:
    """Content and modification time of every file that is not our own.

    Without SQLite's shared memory and its empty log, which it makes for any reader.
    """
    return {
        str(path.relative_to(home)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(home.rglob("*"))
        if path.is_file()
        and not path.name.startswith("threadstore_1.sqlite")
        and not path.name.endswith("-shm")
        and (path.stat().st_size or not path.name.endswith("-wal"))
    }


async def read_everything(home: Path) -> list[str]:
    """All that reads, of the library; the ids of the threads."""
    async with open_store(f"local:{home}") as store:
        for key in SortKey:
            await store.list_threads(ThreadQuery(archived=None, sort_key=key, limit=1000))
        await store.list_threads(ThreadQuery(search_term="hello"))
        page = await store.list_threads(ThreadQuery(archived=None, limit=1000))
        for thread in page.items:
            await store.read_thread(thread.id)
            await store.load_history(thread.id)
            await store.list_turns(thread.id)
            await store.list_items(thread.id)
            assert [line async for line in store.raw_history(thread.id)]
        await store.inspect()
    return [thread.id for thread in page.items]


def run_every_reading_command(home: Path, thread_id: str) -> None:
    """The same by the command line."""
    for words in (
        ["list", "--all"],
        ["list", "--archived", "--json"],
        ["list", "--search", "hello"],
        ["show", thread_id],
        ["turns", thread_id],
        ["export", thread_id, "--format", "md"],
        ["export", thread_id, "--format", "jsonl"],
        ["doctor"],
    ):
        command = [sys.executable, "-m", "threadstore", "--store", f"local:{home}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 5), done.stderr


async def test_our_reading_changes_no_answer_and_no_file(
    live: LiveHome, release: Release, cells: Cells
) -> None:
    before = files_of_codex(live.home)
    ids = await read_everything(live.home)
    assert {thread["id"] for answer in live.answers.values() for thread in threads(answer)} <= {
        *ids
    }
    run_every_reading_command(live.home, ids[0])
    assert files_of_codex(live.home) == before
    assert unequal(live.answers, asked(release, live.home, live.cwd)) == []
    cells.works("together", "after we read everything: Codex's answers and files")


OLD_HOMES = ("0.29.0", "0.77.0", "0.169.0-compressed")


async def test_our_reading_of_homes_of_other_releases_changes_nothing(
    release: Release, cells: Cells, tmp_path: Path
) -> None:
    labels = [label for label in LABELS if label in OLD_HOMES]
    tried = [label for label in labels if load(label).release <= release]
    assert tried
    for label in tried:
        home = load(label).unpack(tmp_path / label)
        write_config(home, "http://127.0.0.1:9")
        answers = settled(release, home, tmp_path)
        before = files_of_codex(home)
        await read_everything(home)
        assert files_of_codex(home) == before, label
        assert unequal(answers, asked(release, home, tmp_path)) == [], label
    cells.works("together", "after we read homes of older releases: Codex's answers and files")


async def rename(manager: ThreadManager, thread_id: str, mode: str) -> None:
    await manager.update_thread_metadata(thread_id, ThreadMetadataPatch(name="By us"))


async def clear(manager: ThreadManager, thread_id: str, mode: str) -> None:
    patch = ThreadMetadataPatch(name=None)
    await manager.update_thread_metadata(thread_id, patch, include_archived=True)


async def edit_git(manager: ThreadManager, thread_id: str, mode: str) -> None:
    patch = ThreadMetadataPatch(git=GitInfoPatch(branch="by-us"))
    await manager.update_thread_metadata(thread_id, patch)


async def set_memory_mode(manager: ThreadManager, thread_id: str, mode: str) -> None:
    await manager.update_thread_metadata(thread_id, ThreadMetadataPatch(memory_mode="disabled"))


async def archive(manager: ThreadManager, thread_id: str, mode: str) -> None:
    await manager.archive(thread_id)


async def archive_and_unarchive(manager: ThreadManager, thread_id: str, mode: str) -> None:
    await manager.archive(thread_id)
    await manager.unarchive(thread_id)


async def append(manager: ThreadManager, thread_id: str, mode: str) -> None:
    live = await manager.resume(thread_id)
    assert isinstance(live, LiveThread)
    await live.append_items(our_turn(thread_id, mode, "/folder"))


class Write(NamedTuple):
    """Something that we write."""

    row: str
    """In words of the page."""
    example: str
    do: Callable[[ThreadManager, str, str], Awaitable[None]]
    changed: frozenset[str]
    """Every member of the thread that has another value then."""


COUNTS_AS_UPDATE = (
    "its line in the log makes it an update in Codex's default list, as an edit by Codex does"
)
OF_A_TURN = frozenset({"turns", "updatedAt", "recencyAt", "model", "reasoningEffort"})
WRITES = (
    Write("renamed", "named", rename, frozenset({"name"})),
    Write("name cleared", "archived_named", clear, frozenset({"name"})),
    Write("git edited", "tools", edit_git, frozenset({"gitInfo"})),
    Write("memory mode set", "credentials", set_memory_mode, frozenset()),
    Write("archived", "unicode", archive, frozenset({"path"})),
    Write("archived and brought back", "failed", archive_and_unarchive, frozenset()),
    Write("turn appended", "plain", append, OF_A_TURN),
)


async def test_what_we_write_changes_what_it_should_and_nothing_else(
    live: LiveHome, release: Release, cells: Cells
) -> None:
    targets = {
        live.examples[f"{mode} {write.example}"]: (write, mode)
        for mode in release.modes
        for write in WRITES
    }
    sources = {
        live.examples[f"{mode} {example}"]: mode
        for mode in release.modes
        for example in ("compacted", "tools")
    }
    async with open_store(f"local:{live.home}") as store, ThreadManager(store) as manager:
        for thread_id, (write, mode) in targets.items():
            await write.do(manager, thread_id, mode)
        forks = {(await manager.fork(source)).id: source for source in sources}
    after = asked(release, live.home, live.cwd)

    touched = {*targets, *forks}
    assert unequal(others(live.answers, touched), others(after, touched)) == []
    for thread_id, (write, mode) in targets.items():
        found = changes(live.answers, after, thread_id)
        wanted = write.changed & (members(live.answers, thread_id) | {"turns"})
        how = ""
        if mode == "legacy" and write.do in (edit_git, set_memory_mode):
            wanted, how = wanted | {"updatedAt"}, COUNTS_AS_UPDATE
        if mode == "paginated" and "turns" in wanted:
            wanted, how = wanted - {"turns"}, SHOWN_AFTER_RESUME
        assert found.keys() == wanted, (write.row, found)
        check_values(write, found, after, thread_id)
        say(cells, write.row, mode, how)
    modes = memory_modes(live.home)
    assert {modes[i] for i, (write, _) in targets.items() if write.do is set_memory_mode} == {
        "disabled"
    }
    for fork, source in forks.items():
        check_fork(live.answers, after, fork, source)
        say(cells, "forked", sources[source], "")


def say(cells: Cells, what: str, mode: str, how: str) -> None:
    """The cell of one write."""
    row = f"before and after: {what}"
    row = row if mode == "legacy" else f"paginated: {row}"
    if how:
        cells.differs("together", row, how)
    else:
        cells.works("together", row)


def members(answers: Answers, thread_id: str) -> set[str]:
    """What this release says about a thread at all."""
    return {member for thread in about(answers, thread_id).values() for member in thread}


def check_values(write: Write, found: Json, after: Answers, thread_id: str) -> None:
    """What has changed is what we have said."""
    archived = write.do is archive or write.example.startswith("archived")
    assert places(after, thread_id) == {"archived" if archived else "active"}
    if write.do in (rename, clear):
        assert found["name"] == ("By us" if write.do is rename else None)
    if write.do is edit_git:
        assert found["gitInfo"]["branch"] == "by-us"
    if "turns" in found:
        assert told(found["turns"])[-1] == ("completed", ["A turn by us", "Answered by us"])


def check_fork(before: Answers, after: Answers, fork: str, source: str) -> None:
    """The fork is one more thread with what its source has."""
    thread, original = after[f"read {fork}"]["thread"], before[f"read {source}"]["thread"]
    assert thread["forkedFromId"] == source
    assert thread["preview"] == original["preview"]
    assert told(thread["turns"]) == told(original["turns"])
    assert places(after, fork) == {"active"}


async def test_doctor_changes_no_answer_but_about_threads_that_it_brings_back(
    live: LiveHome, release: Release, cells: Cells
) -> None:
    async with open_store(f"local:{live.home}") as store:
        findings = [finding for finding in await store.inspect(fix=True) if finding.fixed]
    # What a crash left of a line is ended, so that nothing can be glued to it; a name that 0.131
    # has in its index only goes back into its table; and forks without a turn of their own, which
    # 0.155 and 0.160 do not list, get a preview.
    assert {finding.code for finding in findings} <= {"torn_tail", "clobbered_name", HIDDEN}
    brought_back = {f.thread_id for f in findings if f.code == HIDDEN and f.thread_id}
    after = asked(release, live.home, live.cwd)
    assert unequal(others(live.answers, brought_back), others(after, brought_back)) == []
    for thread_id in brought_back:
        assert (places(live.answers, thread_id), places(after, thread_id)) == (set(), {"active"})
    cells.works("together", "before and after: `doctor --fix`, but for threads it brings back")


HIDDEN = "invisible_row"
