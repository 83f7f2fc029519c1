"""Threads that Codex's lists lose, repeat or show wrongly."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.bugs.places import columns, content, execute_in
from tests.stores.local.homes import START, CodexHome, encode, header

from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.queries import SortKey, ThreadQuery
from threadstore.testing import LocalHarness, items
from threadstore.testing.cases.base import listed
from threadstore.testing.seeds import record_thread

OPENED: list[str] = []
"""Every file that Python code of this process has opened since it was emptied."""


@pytest.fixture(scope="module", autouse=True)
def _watch_files() -> None:
    """Audit hooks cannot be removed; this one only takes notes."""
    sys.addaudithook(lambda event, args: OPENED.append(str(args[0])) if event == "open" else None)


async def test_a_file_that_is_away_for_a_while_costs_the_thread_nothing(
    harness: LocalHarness,
) -> None:
    """Listing deleted the row of a thread whose file was missing at that moment, with all that only
    the row knew (0.131)."""
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock, name="chosen")
        before = columns(harness, thread.id, "*")
        assert thread.rollout_path is not None
        path = Path(thread.rollout_path)
        path.rename(path.with_suffix(".away"))
        assert await listed(store) == []
        assert columns(harness, thread.id, "*") == before
        path.with_suffix(".away").rename(path)
        assert (await store.list_threads()).items == (thread,)
    async with harness.open() as store:
        assert (await store.list_threads()).items == (thread,)


async def test_a_thread_with_a_file_in_both_folders_is_one_thread_and_stays_it(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """A thread with a copy in the archive was in both lists, and each listing moved its row to the
    other one (0.131)."""
    thread_id = codex.thread()
    codex.write(Path(codex.path(thread_id)).read_bytes(), thread_id, archived=True)
    copy = codex.path(thread_id, stamp="2026-05-04T03-02-02")
    codex.write(Path(codex.path(thread_id)).read_bytes(), path=copy)
    before = content(harness)
    for _ in range(2):
        async with harness.open() as store:
            for _ in range(2):
                assert await listed(store) == [thread_id]
                assert await listed(store, archived=True) == []
                assert await listed(store, archived=None) == [thread_id]
    assert content(harness) == before


async def test_lists_and_reads_agree_on_the_working_directory(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """A list without a database showed the directory of a log's first header, one with a database
    that of its last (0.131)."""
    thread_id, later = new_thread_id(), {"cwd": "/later"}
    lines = [header(thread_id, cwd="/first"), *items.turn("t", "hello")]
    codex.write([*lines, header(thread_id, **later)], thread_id)
    async with harness.open() as store:
        (found,) = (await store.list_threads()).items
        assert found == await store.read_thread(thread_id)
        assert found.cwd == "/first"
        assert await listed(store, cwds=("/first",)) == [thread_id]


async def test_a_first_message_far_behind_the_beginning_is_found(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """Lists looked for the first message in the first 210 lines, and left the thread out if it came
    later (0.131)."""
    thread_id = new_thread_id()
    noise = [items.function_call_output(f"c{n}", "ok") for n in range(1000)]
    codex.write([header(thread_id), *noise, *items.turn("t", "at last")], thread_id)
    async with harness.open() as store:
        (found,) = (await store.list_threads(ThreadQuery(only_displayable=True))).items
        assert (found.id, found.preview) == (thread_id, "at last")


async def test_a_folder_with_more_files_than_codex_looks_at_is_listed_to_the_end(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """Lists gave up silently after 10,000 files, in whatever order the folder had them (0.131)."""
    first = codex.thread()
    folder = Path(codex.path(first)).parent
    for number in range(10_000):
        name = f"rollout-2026-05-04T03-02-01-00000000-0000-4000-8000-{number:012}.jsonl"
        folder.joinpath(name).touch()
    last = codex.thread()
    async with harness.open() as store:
        assert set(await listed(store)) == {first, last}


@pytest.mark.parametrize("written", ["yesterday", "", None, 17, "2026-13-45T99:00:00Z"])
async def test_an_unreadable_time_of_creation_is_not_now(
    harness: LocalHarness, codex: CodexHome, written: Any
) -> None:
    """A thread whose header has no readable time was created anew at each listing (0.131)."""
    thread_id = new_thread_id()
    codex.write([header(thread_id, timestamp=written), *items.turn("t", "hello")], thread_id)
    seen = set()
    for _ in range(2):
        async with harness.open() as store:
            seen.add((await store.list_threads()).items[0].created_at)
        harness.clock.advance(3600)
    (moment,) = seen
    assert abs(moment - START) < dt.timedelta(days=2)


async def test_threads_are_in_the_order_in_which_they_were_created(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """Creation times were taken from file names, which are local times to the second, and read as
    UTC: across a change of the clock the order was wrong (0.131)."""
    made = []
    for number, hour in enumerate((5, 2, 3)):
        thread_id = new_thread_id()
        moment = START + dt.timedelta(milliseconds=number)
        lines = [
            items.session_meta(thread_id, created_at=moment),
            *items.turn("t", "hello"),
        ]
        codex.write(lines, path=codex.path(thread_id, stamp=f"2026-05-04T0{hour}-00-00"))
        made.append((thread_id, moment))
    async with harness.open() as store:
        page = await store.list_threads(ThreadQuery(sort_key=SortKey.CREATED, descending=False))
        assert [(found.id, found.created_at) for found in page.items] == made


@pytest.mark.parametrize("key", SortKey)
@pytest.mark.parametrize("descending", [True, False])
async def test_no_page_skips_threads_of_one_second(
    harness: LocalHarness, codex: CodexHome, key: SortKey, descending: bool
) -> None:
    """A cursor was a time in whole seconds, and threads of the second in which a page ended were on
    no page at all, forwards and backwards (0.131)."""
    made = {codex.thread() for _ in range(7)}
    async with harness.open() as store:
        found = await listed(store, sort_key=key, descending=descending, limit=2)
    assert sorted(found) == sorted(made)


ODD_HEADERS: list[dict[str, Any]] = [
    {"source": "hologram"},
    {"source": {"martian": {"depth": 1}}},
    {"history_mode": "quantum"},
    {"memory_mode": "sometimes"},
    {"thread_source": {"kind": "new"}},
    {"git": "none"},
    {"base_instructions": 5},
    {"cli_version": None},
]


@pytest.mark.parametrize("odd", ODD_HEADERS, ids="-".join)
@pytest.mark.parametrize("with_row", [False, True], ids=["file", "file and row"])
async def test_a_value_of_tomorrow_costs_its_field_and_not_the_thread(
    harness: LocalHarness, codex: CodexHome, odd: dict[str, Any], with_row: bool
) -> None:
    """One word of the header that a release does not know made the thread unreadable, and its row a
    phantom without directory (0.131 to 0.169)."""
    async with harness.open() as store:
        other = await record_thread(store, harness.clock)  # so that there is a database
        thread_id = codex.thread(cwd="/mine", **odd)
        if with_row:
            sql = "INSERT INTO threads SELECT '{}', '{}', {} FROM threads WHERE id = '{}'"
            names = execute_in(harness, "PRAGMA table_info(threads)")
            rest = ", ".join(
                {"cwd": "''", "source": "'vscode'", "title": "''", "preview": "''"}.get(
                    name, "''" if name == "first_user_message" else name
                )
                for _, name, *_ in names[2:]
            )
            execute_in(harness, sql.format(thread_id, codex.path(thread_id), rest, other.id))
        found = await store.read_thread(thread_id)
        assert (found.cwd, found.preview) == ("/mine", "hello")
        assert set(await listed(store)) == {thread_id, other.id}
        history = await store.load_history(thread_id)
        assert (len(history.items), history.damage) == (8, ())
        await store.resume_thread(thread_id)
        await store.append_items(thread_id, [items.agent_message("more")])


@pytest.mark.parametrize("line", range(9))
async def test_one_bad_byte_costs_no_thread(
    harness: LocalHarness, codex: CodexHome, line: int
) -> None:
    """A single byte that is not UTF-8, anywhere in the log, made the whole thread unreadable
    (0.131)."""
    thread_id = new_thread_id()
    turn = [header(thread_id), *items.turn("t", "hello", "bye")]
    lines = encode([*turn, items.agent_message("x")]).splitlines()
    lines[line] = lines[line].replace(b'"timestamp":', b'"note":"caf\xe9","timestamp":', 1)
    codex.write(b"\n".join(lines) + b"\n", thread_id)
    async with harness.open() as store:
        (found,) = (await store.list_threads()).items
        assert (found.id, found.cwd, found.preview) == (thread_id, "/repo", "hello")
        history = await store.load_history(thread_id)
        assert [item.line() for item in history.items] == lines


async def test_listing_again_opens_no_rollout(harness: LocalHarness, codex: CodexHome) -> None:
    """Each list scanned and repaired the whole home again (0.131), and archiving one thread read
    the header of every other (0.150)."""
    ids = [codex.thread(f"number {number}") for number in range(20)]
    async with harness.open() as store:
        await listed(store)
        harness.clock.advance(60)
        OPENED.clear()
        await listed(store, search_term="number")
        await store.read_thread(ids[3])
        await store.archive_thread(ids[7])
        assert {path for path in OPENED if "rollout-" in path and ids[7] not in path} == set()
    harness.clock.advance(60)
    async with harness.open() as store:
        OPENED.clear()
        await listed(store)
        assert [path for path in OPENED if "rollout-" in path and ids[7] not in path] == []


async def test_a_row_whose_archived_file_is_gone_hides_no_active_thread(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """Two processes on one thread could leave a row that called it archived, with a path that did
    not exist (0.131)."""
    async with harness.open() as store:
        thread = await record_thread(store, harness.clock)
    gone = codex.path(thread.id, archived=True)
    sql = f"UPDATE threads SET archived = 1, archived_at = 1777863721, rollout_path = '{gone}'"
    execute_in(harness, sql)
    async with harness.open() as store:
        (found,) = (await store.list_threads()).items
        assert (found.archived, found.rollout_path) == (False, thread.rollout_path)
        assert await listed(store, archived=True) == []


async def test_what_follows_a_copied_header_stays_with_its_own_thread(
    harness: LocalHarness, codex: CodexHome
) -> None:
    """The memory mode of a fork's source, whose header is copied into the fork, became the fork's;
    a later header without agent facts took them away (0.131)."""
    source, fork = new_thread_id(), new_thread_id()
    own = header(fork, forked_from_id=source, agent_nickname="Ada", agent_role="explorer")
    later: RolloutItem = header(fork, memory_mode="enabled")
    foreign = header(source, memory_mode="disabled", cwd="/elsewhere")
    codex.write([own, foreign, *items.turn("t", "hello"), foreign, later], fork)
    async with harness.open() as store:
        found = await store.read_thread(fork)
    agent = (found.agent_nickname, found.agent_role)
    assert (found.memory_mode, found.cwd, agent) == ("enabled", "/repo", ("Ada", "explorer"))
