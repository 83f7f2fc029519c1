"""Threads that threadstore wrote, in the hands of real Codex releases (``make test-codex``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from tests.codex.app_server import AppServer, RpcError, write_config
from tests.codex.comparing import EVERYTHING
from tests.codex.ours import FAMILIES, GIT, Written, write_home
from tests.codex.ours_checks import (
    SOURCE_KINDS,
    check_listed,
    check_thread,
    check_turns,
    heard,
    list_all,
    read_rows,
    residue,
    rows,
    to_be_heard,
)
from tests.codex.releases import FIRST_PAGINATED, Release

from threadstore.factory import open_store
from threadstore.history.turns import build_turns
from threadstore.protocol.codex_thread import protocol_thread, protocol_turn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.cells import Cells
    from tests.codex.model_server import ModelServer

    from threadstore.history.turns import StoredTurn
    from threadstore.metadata import StoredThread

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

PROMPT = "A turn by Codex [scene plain]"
ROWS = {
    "plain": "plain thread",
    "named": "named thread",
    "renamed": "renamed thread",
    "name_cleared": "name cleared",
    "git_set": "Git facts edited",
    "memory_mode": "memory mode changed",
    "all": "name, Git facts and memory mode edited",
    "archived": "archived thread",
    "unarchived": "unarchived thread",
    "unicode": "names and texts in any script",
    "repository": "thread in a Git repository",
    "fork": "fork",
    "fork_of_first_turn": "fork of the first turns",
    "tools": "tool calls",
    "compacted": "compacted thread",
    "interrupted": "interrupted turn",
    "rolled_back": "turn that was rolled back",
    "image_url": "image as data URL",
    "image_local": "image in a file",
    "long": "thread of 5,000 items",
}


Table = dict[str, dict[str, Any]]
"""Rows of Codex's table of threads, by id."""


class Home(NamedTuple):
    """A home of all shapes, and what its state database said when we had written it."""

    folder: Path
    written: Written
    table: Table


@pytest.fixture(params=["ours", "none", "of Codex"])
async def home(
    request: pytest.FixtureRequest, release: Release, model: ModelServer, tmp_path: Path
) -> Home:
    """A home of all shapes, with the state database that we make, without one, or with the one
    that the release had made before we came."""
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    write_config(home, model.url)
    if request.param == "of Codex":
        with release.serve(home, cwd) as server:
            list_all(server)
    written = await write_home(home, cwd)
    table = read_rows(home)
    if request.param == "none":
        for path in home.glob("state_5.sqlite*"):
            path.unlink()
    return Home(home, written, table)


async def test_codex_lists_reads_and_searches_our_threads(
    release: Release, cells: Cells, home: Home
) -> None:
    folder, written, table = home
    threads = written.threads
    histories = await load(folder, threads)
    turns = {name: [protocol_turn(turn) for turn in told] for name, told in histories.items()}
    with release.serve(folder, folder.parent / "work") as server:
        check_lists(server, threads, cells)
        check_pages(server, threads, cells)
        failures = release >= FIRST_PAGINATED
        for name, thread in threads.items():
            answer = server.call("thread/read", threadId=thread.id, includeTurns=True)["thread"]
            check_thread(name, thread, answer)
            check_turns(name, turns[name], answer["turns"], failures=failures)
            page = server.call("thread/turns/list", threadId=thread.id, limit=2)
            assert [turn["id"] for turn in page["data"]] == [
                turn["id"] for turn in reversed(turns[name][-2:])
            ]
        check_searches(server, threads, cells)
        check_deleted(server, written.deleted)
    assert residue(folder, written.deleted) == []
    modes = dict(rows(folder / "state_5.sqlite", "SELECT id, memory_mode FROM threads"))
    assert modes == {thread.id: thread.memory_mode for thread in threads.values()}
    edges = rows(folder / "state_5.sqlite", "SELECT * FROM thread_spawn_edges")
    assert sorted(edges) == sorted(
        (threads[parent].id, threads[child].id, "open")
        for parent, children in FAMILIES.items()
        for child in children
    )
    check_rows(threads, table, read_rows(folder), cells)

    cells.works("ours", "deleted thread: gone from lists, reads and tables")
    cells.works("ours", "spawned threads: hidden by default, listed by source, with their parent")
    cells.differs(
        "ours", "first message is only an image", "shows the first text as name, also of its own"
    )
    if failures:
        cells.works("ours", "failed turn")
    else:
        cells.differs("ours", "failed turn", "told as completed, also of its own")


async def test_codex_goes_on_with_our_threads(
    release: Release, cells: Cells, home: Home, model: ModelServer
) -> None:
    folder, written, _ = home
    active = {name: thread for name, thread in written.threads.items() if not thread.archived}
    before = await load(folder, active)
    with release.serve(folder, folder.parent / "work") as server:
        for name, thread in active.items():
            answer = server.call("thread/resume", threadId=thread.id)["thread"]
            check_resumed(name, thread, answer, pictures=release >= FIRST_WITH_PICTURES)
            model.asked.clear()
            server.run_turn(thread.id, PROMPT)
            prompt = {"type": "message", "role": "user", "content": [PROMPT]}
            items = (item for turn in before[name] for item in turn.items)
            assert heard(model.asked[-1]) == [*to_be_heard(items), prompt], name
        listed = {thread["id"]: thread for thread in list_all(server, sourceKinds=SOURCE_KINDS)}
    async with open_store(f"local:{folder}") as store:
        page = await store.list_threads(EVERYTHING)
    after = {thread.id: thread for thread in page.items}
    assert after.keys() == {thread.id for thread in written.threads.values()}
    told = await load(folder, active)
    for name, thread in active.items():
        assert told[name][:-1] == before[name], name
        assert protocol_turn(told[name][-1])["status"] == "completed", name
        assert facts(after[thread.id]) == facts(thread), name
        assert listed[thread.id]["name"] == protocol_thread(thread)["name"] or name == "image_only"
    for name, row in ROWS.items():
        assert name in written.threads
        cells.works("ours", row)
    row = "resumed and continued; the model hears our items"
    if release >= FIRST_WITH_PICTURES:
        cells.works("ours", row)
    else:
        cells.differs("ours", row, "answers without a preview if there are only pictures")


FIRST_WITH_PICTURES = Release(0, 131, 0)
"""Earlier ones have no preview of a message that is only a picture."""


def check_lists(server: AppServer, threads: dict[str, StoredThread], cells: Cells) -> None:
    """Each list holds exactly the threads that belong there, with what we know about them."""
    names = {thread.id: name for name, thread in threads.items()}
    hidden = {"child", "named_child", "review", "archived_child"}
    for archived in (False, True):
        wanted = {name for name, thread in threads.items() if thread.archived is archived}
        for known, sources in ((wanted - hidden, []), (wanted, SOURCE_KINDS)):
            for filled in (True, False):
                listed = list_all(
                    server, archived=archived, sourceKinds=sources, useStateDbOnly=not filled
                )
                assert sorted(names[thread["id"]] for thread in listed) == sorted(known)
                for thread in listed:
                    name = names[thread["id"]]
                    check_listed(name, threads[name], thread, filled=filled)
    how = "the branch of the first line comes back in lists from files, also of its own"
    cells.differs("ours", "Git facts cleared", how)
    how = "says neither what a thread was forked from nor its threadSource, also of its own"
    cells.differs("ours", "fork and sub-agent in lists", how)


def check_pages(server: AppServer, threads: dict[str, StoredThread], cells: Cells) -> None:
    """Every sort key of the release, both directions, in pages."""
    active = [name for name, thread in threads.items() if not thread.archived]
    names = {thread.id: name for name, thread in threads.items()}
    row = "lists by ancestor"
    listed = list_all(server, ancestorThreadId=threads["parent"].id)
    if len(listed) > 2:  # what a release does not know it ignores
        cells.unsupported("ours", row, "the release does not have it")
    else:
        assert {names[thread["id"]] for thread in listed} == {"child", "named_child"}
        cells.works("ours", row)
    for key in ("created_at", "updated_at", "recency_at"):
        row = f"lists by {key}, in pages"
        if not understands(server, "thread/list", sortKey=key):
            cells.unsupported("ours", row, "the release does not have it")
            continue
        order: dict[tuple[str, int], list[str]] = {}
        for direction in ("asc", "desc"):
            for limit in (100, 4):
                listed = list_all(
                    server,
                    limit,
                    sortKey=key,
                    sortDirection=direction,
                    sourceKinds=SOURCE_KINDS,
                )
                order[direction, limit] = [names[thread["id"]] for thread in listed]
        # They were made in this order; 0.131 cannot tell those of one millisecond apart.
        assert order["asc", 100] == active
        assert order["desc", 100] == active[::-1]
        if order["asc", 4] == order["asc", 100] and order["desc", 4] == order["desc", 100]:
            cells.works("ours", row)
        else:
            assert key == "created_at"
            how = "skips threads of the same second, also of its own"
            cells.differs("ours", row, how)


def check_searches(server: AppServer, threads: dict[str, StoredThread], cells: Cells) -> None:
    """By name and title, and where the release can, in what was said."""
    names = {thread.id: name for name, thread in threads.items()}

    def found(**params: Any) -> set[str]:
        return {names[thread["id"]] for thread in list_all(server, **params)}

    forks = {"fork", "fork_of_first_turn"}
    assert found(searchTerm="name of its own") == {"named", *forks}
    assert found(searchTerm="Second 🚀") == {"renamed"}
    assert found(searchTerm="שלום") == {"unicode"}
    assert found(searchTerm="First message of plain") == {"plain"}
    assert found(searchTerm="with a name", archived=True) == {"archived"}
    assert found(searchTerm="Not for long") == found(searchTerm="deleted") == set()
    cells.works("ours", "search for names and titles")
    row = "search in what was said"
    if not understands(server, "thread/search", searchTerm="Message 77 of"):
        cells.unsupported("ours", row, "the release cannot search there")
        return
    for term, archived, wanted in (
        ("Message 77 of", False, {"long"}),
        ("Answer to Second message of unicode", False, {"unicode"}),
        ("Second message of archived", True, {"archived", "archived_unnamed", "archived_parent"}),
        ("Second message of deleted", False, set()),
    ):
        answer = server.call("thread/search", searchTerm=term, archived=archived, limit=100)
        assert {names[hit["thread"]["id"]] for hit in answer["data"]} == wanted
    cells.works("ours", row)


def understands(server: AppServer, method: str, **params: Any) -> bool:
    """Whether the release has the method and knows the words in the parameters."""
    try:
        server.call(method, **params)
    except RpcError as error:
        if error.unknown_method:
            return False
        raise
    return True


def check_rows(threads: dict[str, StoredThread], table: Table, found: Table, cells: Cells) -> None:
    """Codex's table says what we wrote there, also where Codex had to make it anew."""
    assert found.keys() == table.keys() == {thread.id for thread in threads.values()}
    for name, thread in threads.items():
        ours, theirs = table[thread.id], found[thread.id]
        assert theirs["title"] in (ours["title"], thread.title), name
        # Profiles take the place of policies at later levels; see check_thread about the time of
        # the last update; the time of archiving becomes that of the file, also of its own threads.
        skipped = {"title", "sandbox_policy", "updated_at", "updated_at_ms", "archived_at"}
        if "preview" not in theirs:  # 0.130 had no such column yet
            skipped.add("preview")
        wanted = {key: value for key, value in ours.items() if key not in skipped}
        unequal = {key: theirs[key] for key, value in wanted.items() if theirs[key] != value}
        assert not unequal, name
    how = "equal; a name is in the name index only, also of its own threads"
    cells.differs("ours", "state database deleted: what Codex derives again", how)


def check_deleted(server: AppServer, thread_id: str) -> None:
    """Nothing knows the thread any more."""
    for method in ("thread/read", "thread/resume", "thread/turns/list", "thread/archive"):
        with pytest.raises(RpcError, match=r"not loaded|no rollout found"):
            server.call(method, threadId=thread_id)


def check_resumed(
    name: str, thread: StoredThread, answer: dict[str, Any], *, pictures: bool
) -> None:
    """What a resume says; cleared Git facts come back there, too (also of its own threads)."""
    cleared = name in ("git_cleared", "git_all_cleared")
    assert (answer["gitInfo"] or {}).get("branch") == (
        GIT.branch if cleared else thread.git and thread.git.branch
    )
    assert len(answer["turns"]) > 0
    shown = pictures or name != "image_only"
    assert answer["preview"] == (thread.preview if shown else "")


async def load(home: Path, threads: dict[str, StoredThread]) -> dict[str, tuple[StoredTurn, ...]]:
    """The turns of all threads."""
    async with open_store(f"local:{home}") as store:
        histories = {name: await store.load_history(thread.id) for name, thread in threads.items()}
    assert not any(history.damage for history in histories.values())
    return {name: build_turns(history.items) for name, history in histories.items()}


def facts(thread: StoredThread) -> dict[str, Any]:
    """What a turn by Codex leaves as it is."""
    moving = {"updated_at", "recency_at", "token_usage", "usage", "model", "reasoning_effort"}
    moving |= {"approval_mode", "sandbox_policy", "permission_profile"}
    return {
        key: value for key, value in msgspec.structs.asdict(thread).items() if key not in moving
    }
