"""Facts about a thread that Codex loses, overwrites, guesses wrongly or gives away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.bugs.places import columns, content, lose_databases, set_column
from tests.stores.local.homes import CodexHome

from threadstore.errors import Conflict, InvalidRequest
from threadstore.live import LiveThread
from threadstore.metadata import (
    GitInfo,
    GitInfoPatch,
    MetadataOrigin,
    NewThread,
    ThreadMetadataPatch,
    TokenUsage,
)
from threadstore.testing import LocalHarness
from threadstore.testing.cases.base import explicit, listed, observed
from threadstore.testing.items import token_count, turn
from threadstore.testing.seeds import record_thread

SECRET_URL = "https://me:hunter2@example.org/r.git"


@pytest.mark.parametrize(
    "edit",
    [{"memory_mode": "disabled"}, {"git": GitInfoPatch(branch="b")}, {"name": "early"}],
    ids=["memory mode", "git", "name"],
)
@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_no_edit_makes_a_thread_that_is_only_a_row(
    harness: LocalHarness, mode: Any, edit: dict[str, Any]
) -> None:
    """Editing a new paginated thread made a row without a file: it could be read, but neither
    listed, resumed nor archived, for good (0.169)."""
    async with harness.open() as store:
        thread = await store.create_thread(NewThread(cwd="/repo", history_mode=mode))
        await explicit(store, thread.id, **edit)
        assert thread.rollout_path is not None
        assert Path(thread.rollout_path).exists()
    async with harness.open() as store:
        assert await listed(store) == [thread.id]
        assert (await store.list_turns(thread.id)).items == ()
        await store.resume_thread(thread.id)
        await store.append_items(thread.id, turn("t1", "hello"))
        await store.shutdown_thread(thread.id)
        assert await store.archive_thread(thread.id) == (thread.id,)


def test_nobody_can_say_where_a_thread_s_file_is() -> None:
    """A patch with a path made a row for a thread that did not exist (0.131, unchecked)."""
    with pytest.raises(InvalidRequest):
        ThreadMetadataPatch.from_json('{"rollout_path":"/somewhere/rollout.jsonl"}')


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_edits_of_two_programs_do_not_undo_each_other(
    harness: LocalHarness, mode: str
) -> None:
    """A row was read, changed and written back whole, so that of two edits of different fields one
    was lost (0.131)."""
    async with harness.open() as one, harness.open() as two:
        thread = await record_thread(one, harness.clock, history_mode=mode)
        assert await two.read_thread(thread.id) == thread
        await explicit(one, thread.id, name="chosen")
        await explicit(two, thread.id, git=GitInfoPatch(branch="topic"))
        await explicit(one, thread.id, memory_mode="disabled")
        await observed(two, thread.id, model="gpt-9")
        for store in (one, two):
            after = await store.read_thread(thread.id)
            known = (after.name, after.git, after.memory_mode, after.model)
            assert known == ("chosen", GitInfo(branch="topic"), "disabled", "gpt-9")


async def test_a_branch_observed_later_replaces_the_first_one(harness: LocalHarness) -> None:
    """Git facts of an existing row were never updated by observation, so the branch shown was the
    first ever (0.131 to 0.169)."""
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock, git=GitInfo(branch="main"))
        await observed(store, thread.id, git=GitInfoPatch(branch="topic"))
    assert columns(harness, thread.id, "git_branch") == ("topic",)
    async with harness.open() as store:
        assert (await store.read_thread(thread.id)).git == GitInfo(branch="topic")


async def test_who_says_it_decides_what_is_kept(harness: LocalHarness) -> None:
    """Whether a user said something was guessed from the fields, so that an edit of memory mode and
    model together never reached the log (0.131)."""
    both: dict[str, Any] = {"memory_mode": "disabled", "model": "gpt-9"}
    async with harness.open() as store:
        said = await record_thread(store, harness.clock)
        await explicit(store, said.id, **both)
        seen = await record_thread(store, harness.clock)
        lines = harness.raw_history(seen.id)
        await observed(store, seen.id, **both, git=GitInfoPatch(branch="b"))
        assert harness.raw_history(seen.id) == lines
    lose_databases(harness)
    async with harness.open() as store:
        after = await store.read_thread(said.id)
        assert (after.memory_mode, after.model) == ("disabled", "gpt-9")


async def test_counting_tokens_writes_the_tokens_and_nothing_else(harness: LocalHarness) -> None:
    """Every token count wrote the whole row again, over what others had changed in it (0.131)."""
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock)
        async with await LiveThread.resume(store, thread.id, clock=harness.clock) as live:
            set_column(harness, thread.id, "agent_nickname", "Ada")
            set_column(harness, thread.id, "git_branch", "topic")
            set_column(harness, thread.id, "model", "gpt-9")
            await live.append_items([token_count(TokenUsage(input_tokens=40, total_tokens=42))])
            row = columns(harness, thread.id, "tokens_used, agent_nickname, git_branch, model")
            assert row == (42, "Ada", "topic", "gpt-9")


@pytest.mark.parametrize("act", ["persist", "append", "shutdown"])
async def test_a_resume_repeats_nothing_that_it_knows_from_before(
    harness: LocalHarness, act: str
) -> None:
    """The first write after a resume, and forcing to disk without any, sent every fact derived from
    history again, over newer values of the row (0.131)."""
    facts = "model, model_provider, cwd, source, agent_role, git_branch, memory_mode, title"
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock)
    new = dict(
        zip(facts.split(", "), ["a", "b", "/c", "exec", "e", "f", "disabled", "h"], strict=True)
    )
    for column, value in new.items():
        set_column(harness, thread.id, column, value)
    async with harness.open() as store:
        live = await LiveThread.resume(store, thread.id, clock=harness.clock)
        if act == "persist":
            await live.persist()
        elif act == "append":
            await live.append_items([token_count(TokenUsage(total_tokens=42))])
        await live.shutdown()
    assert columns(harness, thread.id, facts) == tuple(new.values())


async def test_everything_that_needs_the_writer_conflicts_in_the_same_way(
    harness: LocalHarness,
) -> None:
    """An edit of a thread that another process wrote opened its file a second time (0.131); later
    the same refusal had another code for each call (0.169)."""
    async with harness.open() as one, harness.open() as two:
        thread = await record_thread(one, harness.clock, live=True)
        before = content(harness)
        for refused in (
            explicit(two, thread.id, git=GitInfoPatch(branch="b")),
            explicit(two, thread.id, memory_mode="disabled"),
            two.resume_thread(thread.id),
            two.archive_thread(thread.id),
            two.delete_thread(thread.id),
        ):
            with pytest.raises(Conflict) as error:
                await refused
            assert type(error.value) is Conflict
        assert content(harness) == before


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
@pytest.mark.parametrize("origin", MetadataOrigin)
async def test_an_edit_answers_with_the_thread_as_it_is_read(
    harness: LocalHarness, mode: str, origin: MetadataOrigin
) -> None:
    """Some edits answered with nothing, some with a thread made from the file, without what had
    just been written (0.131 to 0.169)."""
    patch = ThreadMetadataPatch(model="gpt-9", git=GitInfoPatch(branch="b"), preview="other")
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock, history_mode=mode)
        answer = await store.update_thread_metadata(thread.id, patch, origin=origin)
        assert answer == await store.read_thread(thread.id)
        assert (answer,) == (await store.list_threads()).items
        assert (answer.model, answer.git) == ("gpt-9", GitInfo(branch="b"))


async def test_an_edit_costs_a_small_line_and_no_copy_of_the_instructions(
    harness: LocalHarness,
) -> None:
    """Every edit of git facts or memory mode added a copy of the header with all its instructions,
    some twenty kilobytes (0.130 to 0.169)."""
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock, base_instructions="be brief " * 3000)
        size = sum(map(len, harness.raw_history(thread.id)))
        for branch in ("one", "two", "three"):
            await explicit(store, thread.id, git=GitInfoPatch(branch=branch))
        lines = harness.raw_history(thread.id)
        assert sum(map(len, lines)) - size < 3000
        assert b"be brief" in lines[0]


async def test_a_memory_mode_leaves_the_git_facts_in_the_log(harness: LocalHarness) -> None:
    """The line of a memory mode left git facts out, which were lost when the database was made
    again (0.131, legacy threads of 0.169)."""
    git = GitInfo(sha="c0ffee", branch="main", origin_url="https://example.org/r.git")
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock, git=git)
        await explicit(store, thread.id, git=GitInfoPatch(branch="topic"))
        await explicit(store, thread.id, memory_mode="disabled")
        record = json.loads(harness.raw_history(thread.id)[-1])["payload"]
        assert (record["memory_mode"], record["git"]["branch"]) == ("disabled", "topic")
    lose_databases(harness)
    async with harness.open() as store:
        after = await store.read_thread(thread.id)
        assert after.git == GitInfo(sha="c0ffee", branch="topic", origin_url=git.origin_url)
        assert after.memory_mode == "disabled"


@pytest.mark.parametrize("lost", [False, True], ids=["with databases", "databases lost"])
async def test_a_cleared_branch_does_not_come_back(harness: LocalHarness, lost: bool) -> None:
    """Resuming a thread showed the branch of its header again after a user had cleared it (0.131,
    0.150)."""
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock, git=GitInfo(sha="c0", branch="main"))
        await explicit(store, thread.id, git=GitInfoPatch(branch=None))
    if lost:
        lose_databases(harness)
    async with harness.open() as store:
        resumed = await store.resume_thread(thread.id)
        assert resumed.git == GitInfo(sha="c0")
        await store.append_items(thread.id, turn("t2", "more"))
        await store.shutdown_thread(thread.id)
        assert (await store.read_thread(thread.id)).git == GitInfo(sha="c0")


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
@pytest.mark.parametrize("way", ["new thread", "explicit", "observed", "row"])
async def test_no_password_of_a_remote_is_kept_or_served(
    harness: LocalHarness, mode: Any, way: str
) -> None:
    """The address of a repository was stored and served with user name and password (0.131)."""
    git = GitInfo(branch="main", origin_url=SECRET_URL) if way == "new thread" else None
    patch = {"git": GitInfoPatch(origin_url=SECRET_URL)}
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock, git=git, history_mode=mode)
        if way == "explicit":
            await explicit(store, thread.id, **patch)
        elif way == "observed":
            await observed(store, thread.id, **patch)
        elif way == "row":
            set_column(harness, thread.id, "git_origin_url", SECRET_URL)
        read = await store.read_thread(thread.id)
        assert read.git is not None
        assert read.git.origin_url == "https://example.org/r.git"
    if way != "row":
        kept = content(harness, without="nothing")
        assert [path for path, data in kept.items() if b"hunter2" in data] == []


async def test_no_password_is_served_from_a_log_of_codex(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """Logs of 0.131 hold the password of a remote; it stays there, and goes nowhere else."""
    git = {"commit_hash": "c0", "branch": "main", "repository_url": SECRET_URL}
    thread_id = codex.thread(git=git)
    async with harness.open() as store:
        (listed_thread,) = (await store.list_threads()).items
        await explicit(store, thread_id, memory_mode="disabled")
        assert listed_thread.git == GitInfo(
            sha="c0", branch="main", origin_url="https://example.org/r.git"
        )
        assert [b"hunter2" in line for line in harness.raw_history(thread_id)].count(True) == 1
    kept = content(harness, without="rollout-")
    assert [path for path, data in kept.items() if b"hunter2" in data] == []
