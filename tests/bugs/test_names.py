"""Names that users gave, which Codex loses, replaces or brings back."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.bugs.places import columns, content, lose_databases
from tests.stores.local.homes import CodexHome

from threadstore.errors import StoreUnavailable
from threadstore.live import LiveThread
from threadstore.metadata import GitInfo, GitInfoPatch, NewThread
from threadstore.queries import ThreadQuery
from threadstore.testing import LocalHarness
from threadstore.testing.cases.base import explicit, listed
from threadstore.testing.items import turn
from threadstore.testing.seeds import empty_thread, record_thread


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process can grow beyond *size* bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("spoken", [True, False], ids=["after a message", "before any message"])
async def test_codex_too_still_finds_the_name_after_another_edit(
    harness: LocalHarness, spoken: bool
) -> None:
    """Editing git facts or the memory mode put the first message back into the column in which
    0.131 keeps the name; of a thread without messages it was then gone."""
    async with harness.open() as store:
        thread = await (record_thread(store, harness.clock) if spoken else empty_thread(store))
        await explicit(store, thread.id, name="chosen")
        await explicit(store, thread.id, git=GitInfoPatch(branch="topic"))
        await explicit(store, thread.id, memory_mode="disabled")
        assert columns(harness, thread.id, "title") == ("chosen",)


async def test_a_resume_by_another_program_keeps_the_name_in_codex_s_column(
    harness: LocalHarness,
) -> None:
    """A second process that resumed a thread reset its title column (0.169, legacy threads)."""
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock, name="chosen")
    async with (
        harness.open() as store,
        await LiveThread.resume(store, thread.id, clock=harness.clock) as live,
    ):
        await live.append_items(turn("t2", "something else"))
    assert columns(harness, thread.id, "title") == ("chosen",)


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_name_may_repeat_the_first_message(harness: LocalHarness, mode: str) -> None:
    """A name that equals the first message was taken for the derived title and not shown (0.131 to
    0.169)."""
    async with harness.open() as store:
        thread = await record_thread(
            store, harness.clock, "fix the tests", name="fix the tests", history_mode=mode
        )
    for _ in range(2):
        async with harness.open() as store:
            assert (await store.read_thread(thread.id)).name == "fix the tests"
            assert [found.name for found in (await store.list_threads()).items] == ["fix the tests"]
        lose_databases(harness)


async def test_a_blank_entry_ends_a_name_in_lists_too(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """Lists skipped blank entries of the name index and showed the name before them, while reading
    the thread showed none (0.131 to 0.169)."""
    thread_id = codex.thread()
    codex.name(thread_id, "once")
    codex.name(thread_id, "")
    async with harness.open() as store:
        assert (await store.read_thread(thread_id)).name is None
        assert [found.name for found in (await store.list_threads()).items] == [None]


async def test_a_thread_that_has_a_name_but_no_message_is_worth_showing(
    harness: LocalHarness,
) -> None:
    """No list showed a thread that was named before its first message (all releases)."""
    async with harness.open() as store:
        new = NewThread(cwd="/repo")
        async with await LiveThread.create(store, new, probe_git=False) as live:
            await explicit(store, live.id, name="planned")
        assert await listed(store, only_displayable=True) == [live.id]
        assert await listed(store, search_term="planned") == [live.id]


@pytest.mark.parametrize("edit", [{}, {"git": GitInfoPatch(branch="topic")}], ids=["name", "both"])
async def test_an_edit_that_fails_halfway_changes_nothing(
    harness: LocalHarness, edit: dict[str, Any]
) -> None:
    """An edit was up to eight writes: when a late one failed, the earlier ones stayed although the
    caller was told that it failed (0.131)."""
    async with harness.open() as store:
        git = GitInfo(branch="main")
        thread = await record_thread(store, harness.clock, git=git)
        Path(harness.home, "session_index.jsonl").mkdir()
        before = content(harness)
        with pytest.raises(StoreUnavailable):
            await explicit(store, thread.id, name="new", **edit)
        assert await store.read_thread(thread.id) == thread
        logs = [path for path in before if path.endswith(".jsonl")]
        assert [content(harness)[path] for path in logs] == [before[path] for path in logs]
        assert await store.list_threads(ThreadQuery(search_term="new")) == await store.list_threads(
            ThreadQuery(search_term="no such name")
        )
    async with harness.open() as store:
        after = await store.read_thread(thread.id)
        assert (after.name, after.git) == (None, git)


async def test_an_edit_whose_name_does_not_fit_on_the_disk_changes_nothing(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """The same where the name index fails only while it is written."""
    index = Path(codex.home.name_index)
    both: dict[str, Any] = {"name": "new", "git": GitInfoPatch(branch="topic")}
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock, name="old", git=GitInfo(branch="main"))
        size = index.write_bytes(index.read_bytes() + b"\n" * 10_000_000)
        lines = harness.raw_history(thread.id)
        with file_size_limit(size + 5), pytest.raises(StoreUnavailable):
            await explicit(store, thread.id, **both)
        assert await store.read_thread(thread.id) == thread
        assert (harness.raw_history(thread.id), index.stat().st_size) == (lines, size)
        await explicit(store, thread.id, **both)
    assert columns(harness, thread.id, "title, git_branch") == ("new", "topic")


async def test_an_edit_whose_row_cannot_be_committed_changes_nothing(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """The same where the database fails last, when log and name index have been written."""
    both: dict[str, Any] = {"name": "new", "git": GitInfoPatch(branch="topic")}
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock, name="old", git=GitInfo(branch="main"))
        lines, names = harness.raw_history(thread.id), Path(codex.home.name_index).read_bytes()
        size = Path(f"{codex.home.state_db}-wal").stat().st_size
        assert size > 40_000, "the other files stay below the limit"
        with file_size_limit(size), pytest.raises(StoreUnavailable):
            await explicit(store, thread.id, **both)
        assert await store.read_thread(thread.id) == thread
        assert harness.raw_history(thread.id) == lines
        assert Path(codex.home.name_index).read_bytes() == names
        await explicit(store, thread.id, **both)
    assert columns(harness, thread.id, "title, git_branch") == ("new", "topic")
