"""Codex works on a thread while we read it, try to write it, and take over when it has let go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.codex.app_server import AppServer, RpcError, write_config
from tests.codex.cells import Cells
from tests.codex.comparing import facts, told
from tests.codex.model_server import ANSWERS, ModelServer
from tests.codex.releases import Release
from tests.codex.turns import our_turn

from threadstore.errors import Conflict
from threadstore.factory import open_store
from threadstore.history.items import RolloutItem
from threadstore.history.turns import build_turns
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfoPatch, ThreadMetadataPatch
from threadstore.protocol.codex_thread import protocol_thread, protocol_turn
from threadstore.queries import ThreadQuery
from threadstore.store import ThreadStore

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

FIRST, SECOND = "The first turn [scene plain]", "The second turn [scene gate]"
ENDED = [("completed", [FIRST, ANSWERS["plain"]]), ("completed", [SECOND, ANSWERS["plain"]])]
OPEN = [ENDED[0], ("interrupted", [SECOND])]
BY_US = ("completed", ["A turn by us", "Answered by us"])
NAMED = ThreadMetadataPatch(name="Named by us")
BRANCH = ThreadMetadataPatch(git=GitInfoPatch(branch="ours"))
NO_MEMORY = ThreadMetadataPatch(memory_mode="disabled")


class Busy:
    """A Codex in the middle of the second turn of a thread; ``finish`` lets that turn end."""

    def __init__(
        self, release: Release, model: ModelServer, home: Path, cwd: Path, mode: str
    ) -> None:
        self.release, self.home, self.cwd, self.mode = release, home, cwd, mode
        self._model = model
        model.gate.clear()
        cwd.mkdir(parents=True, exist_ok=True)
        write_config(home, model.url)
        self.server = release.serve(home, cwd)
        self.thread_id = ""

    def begin(self) -> None:
        """One whole turn, and half of another one."""
        self.thread_id = self.server.start_thread(self.cwd, historyMode=self.mode)
        self.server.run_turn(self.thread_id, FIRST)
        self._seen = self.server.seen()
        self.server.start_turn(self.thread_id, SECOND)
        self.server.wait_notification(lambda note: note["method"].endswith("/delta"), self._seen)

    def finish(self) -> None:
        """The model goes on; wait for the end of the turn."""
        self._model.gate.set()
        self.server.wait_turn(self.thread_id, self._seen)

    @property
    def url(self) -> str:
        return f"local:{self.home}"

    def read(self, server: AppServer | None = None) -> dict[str, Any]:
        """What Codex answers about the thread; another process only knows what is on disk."""
        answer = (server or self.server).call(
            "thread/read", threadId=self.thread_id, includeTurns=True
        )
        thread: dict[str, Any] = answer["thread"]
        return thread

    def log(self) -> bytes:
        """The thread's rollout."""
        (path,) = self.home.glob(f"*sessions/**/*{self.thread_id}.jsonl")
        return path.read_bytes()

    def kinds(self) -> list[tuple[str, str | None]]:
        """What the lines of the rollout are."""
        items = [RolloutItem.parse(line) for line in self.log().splitlines()]
        return [(item.type, item.kind) for item in items]


@contextmanager
def busy_codex(
    release: Release, model: ModelServer, folder: Path, mode: str = "legacy"
) -> Iterator[Busy]:
    """A Codex that is in a turn, in a home of its own."""
    busy = Busy(release, model, folder / "home", folder / "work", mode)
    with busy.server:
        busy.begin()
        try:
            yield busy
        finally:
            model.gate.set()  # nobody waits for it any more


async def turns(store: ThreadStore, thread_id: str) -> list[dict[str, Any]]:
    """The turns as we see them now."""
    history = await store.load_history(thread_id)
    assert history.damage == ()
    return [protocol_turn(turn) for turn in build_turns(history.items)]


async def follow(store: ThreadStore, busy: Busy, after: int) -> list[bytes]:
    """Everything that comes after a position, until the turn has ended."""
    lines: list[bytes] = []
    while not (lines and RolloutItem.parse(lines[-1]).kind == "task_complete"):
        async for entry in store.iter_history(busy.thread_id, after=after + len(lines)):
            assert isinstance(entry, RolloutItem)
            lines.append(entry.line())
        await asyncio.sleep(0)
    return lines


async def test_a_thread_in_a_turn_is_read_rightly_and_undisturbed(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    for mode in release.modes:
        with busy_codex(release, model, tmp_path / f"{mode}-alone", mode) as alone:
            alone.finish()
        with busy_codex(release, model, tmp_path / mode, mode) as busy:
            async with open_store(busy.url) as store:
                await check_reading(store, busy)
                history = await store.load_history(busy.thread_id)
                tail = asyncio.create_task(follow(store, busy, history.position))
                await asyncio.to_thread(busy.finish)
                lines = [item.line() for item in history.items] + await tail
                assert lines == busy.log().splitlines()
                assert told(await turns(store, busy.thread_id)) == ENDED
            assert told(busy.read()["turns"]) == ENDED
        assert busy.kinds() == alone.kinds()
        cells.works("together", f"{mode} thread in a turn of Codex: listed, read, searched, tailed")


async def check_reading(store: ThreadStore, busy: Busy) -> None:
    """List, search and read of the open turn, beside what Codex itself and a second one say."""
    wanted = facts(busy.read())
    for query in (ThreadQuery(), ThreadQuery(search_term="THE FIRST TURN")):
        (thread,) = (await store.list_threads(query)).items
        assert facts(protocol_thread(thread)) == wanted
    assert (await store.list_threads(ThreadQuery(search_term="never said"))).items == ()
    assert facts(protocol_thread(await store.read_thread(busy.thread_id))) == wanted
    assert told(await turns(store, busy.thread_id)) == OPEN
    with busy.release.serve(busy.home, busy.cwd) as second:
        assert told(busy.read(second)["turns"]) == OPEN


def append(store: ThreadStore, thread_id: str) -> Awaitable[Any]:
    async def through_manager() -> None:
        async with ThreadManager(store) as manager:
            live = await manager.resume(thread_id)
            await live.append_items([])

    return through_manager()


def edit(patch: ThreadMetadataPatch) -> Callable[[ThreadStore, str], Awaitable[Any]]:
    async def through_manager(store: ThreadStore, thread_id: str) -> None:
        async with ThreadManager(store) as manager:
            await manager.update_thread_metadata(thread_id, patch)

    return through_manager


WRITES: dict[str, Callable[[ThreadStore, str], Awaitable[Any]]] = {
    "resume": lambda store, thread_id: store.resume_thread(thread_id),
    "append": append,
    "archive": lambda store, thread_id: store.archive_thread(thread_id),
    "delete": lambda store, thread_id: store.delete_thread(thread_id),
}
LOG_EDITS = {"git": edit(BRANCH), "memory mode": edit(NO_MEMORY)}


@pytest.mark.parametrize("moment", ["in a turn", "between turns"])
async def test_our_write_of_a_thread_that_codex_holds_is_refused_by_name(
    moment: str, release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    for mode in release.modes:
        with busy_codex(release, model, tmp_path / mode, mode) as busy:
            if moment == "between turns":
                busy.finish()
            before = snapshot(busy.home)
            async with open_store(busy.url) as store:
                for word, write in (WRITES | LOG_EDITS if mode == "legacy" else WRITES).items():
                    with pytest.raises(Conflict) as caught:
                        await write(store, busy.thread_id)
                    assert caught.value.holder == f"process {busy.server.pid} (codex)", word
                    assert caught.value.hint, word
            assert snapshot(busy.home) == before
            busy.finish()
            assert told(busy.read()["turns"]) == ENDED
    row = "our resume, append, archive and delete of a thread that Codex holds are refused"
    if release >= FIRST_WITH_LOCKS:
        cells.works("together", row)
    else:
        locks = tmp_path / "legacy/home/thread-writer-locks"
        assert [path.name for path in locks.iterdir()] == [".coordination.lock"]
        how = "it takes no lock; seen by the open file, where the system shows open files"
        cells.differs("together", row, how)


FIRST_WITH_LOCKS = Release(0, 146, 0)


def snapshot(home: Path) -> dict[str, bytes]:
    """Every file of history and names, and whatever locks there are."""
    kept = [*home.glob("*sessions/**/*.jsonl"), *home.glob("session_index.jsonl")]
    kept += home.glob("thread-writer-locks/*-*.lock")
    return {str(path): path.read_bytes() for path in kept}


async def test_our_edits_of_a_thread_that_codex_holds(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    for mode in release.modes:
        in_place = [NAMED] if mode == "legacy" else [NAMED, BRANCH, NO_MEMORY]
        with busy_codex(release, model, tmp_path / mode, mode) as busy:
            log = busy.log()
            async with open_store(busy.url) as store:
                for patch in in_place:
                    await edit(patch)(store, busy.thread_id)
                assert busy.log() == log
                busy.finish()
                ours = await store.read_thread(busy.thread_id)
            wanted = facts(protocol_thread(ours))
            assert ours.name == "Named by us"
            assert facts(busy.read()) == wanted
        with release.serve(busy.home, busy.cwd) as later:
            assert facts(busy.read(later)) == wanted
            later.call("thread/resume", threadId=busy.thread_id)
            later.run_turn(busy.thread_id, FIRST)
            assert facts(busy.read(later)) == wanted
        async with open_store(busy.url) as store:
            after = await store.read_thread(busy.thread_id)
            assert (after.name, after.git, after.memory_mode) == (
                ours.name,
                ours.git,
                ours.memory_mode,
            )
        cells.works("together", f"our name for a {mode} thread that Codex holds")
        if mode == "paginated":
            cells.works("together", "our git and memory mode of a paginated thread Codex holds")


async def test_a_second_codex_does_with_a_held_thread_what_we_do(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    """What the comparison rests on: a second process of the same release."""
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "name": ("thread/name/set", {"name": "By the second"}),
        "git": ("thread/metadata/update", {"gitInfo": {"branch": "second"}}),
        "memory mode": ("thread/memoryMode/set", {"mode": "disabled"}),
        "resume": ("thread/resume", {}),
        "archive": ("thread/archive", {}),
    }
    writes_into_held_logs = release < FIRST_WITH_LOCKS
    for mode in release.modes:
        with busy_codex(release, model, tmp_path / mode, mode) as busy:
            refused: dict[str, str] = {}
            with release.serve(busy.home, busy.cwd) as second:
                for word, (method, params) in requests.items():
                    try:
                        second.call(method, threadId=busy.thread_id, **params)
                    except RpcError as error:
                        refused[word] = error.message
        assert all("already has an active writer" in message for message in refused.values())
        if release >= FIRST_WITH_LOCKS:
            in_log = {"git", "memory mode"} if mode == "legacy" else set()
            assert refused.keys() - in_log == {"resume", "archive"}
            assert in_log <= refused.keys() or not in_log & refused.keys()
            writes_into_held_logs |= not in_log <= refused.keys()  # 0.150 does
        else:
            assert refused == {}
    row = "our edits of a held thread's git and memory mode, against a second Codex's"
    if writes_into_held_logs:
        how = "a second Codex writes into the log that the first one writes; we refuse"
        cells.differs("together", row, how)
    else:
        cells.works("together", row)


async def test_when_codex_has_let_go_we_continue_and_it_continues_ours(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    for mode in release.modes:
        with busy_codex(release, model, tmp_path / mode, mode) as busy:
            busy.finish()
            busy.server.call("thread/unsubscribe", threadId=busy.thread_id)
            async with open_store(busy.url) as store:
                with pytest.raises(Conflict):  # it goes on holding what nobody looks at
                    await store.resume_thread(busy.thread_id)
                busy.server.call("thread/archive", threadId=busy.thread_id)
                await store.unarchive_thread(busy.thread_id)
                await continue_it(store, busy)
            busy.server.call("thread/resume", threadId=busy.thread_id)
            busy.server.run_turn(busy.thread_id, FIRST)
            assert told(busy.read()["turns"]) == [*ENDED, BY_US, ENDED[0]]
        async with open_store(busy.url) as store:
            await continue_it(store, busy)
        with release.serve(busy.home, busy.cwd) as later:
            later.call("thread/resume", threadId=busy.thread_id)
            later.run_turn(busy.thread_id, FIRST)
            everything = [*ENDED, BY_US, ENDED[0], BY_US, ENDED[0]]
            assert told(busy.read(later)["turns"]) == everything
        async with open_store(busy.url) as store:
            assert told(await turns(store, busy.thread_id)) == everything
        cells.works("together", f"{mode} thread taken over when Codex lets go, and back")


async def continue_it(store: ThreadStore, busy: Busy) -> None:
    async with ThreadManager(store) as manager:
        live = await manager.resume(busy.thread_id)
        await live.append_items(our_turn(busy.thread_id, busy.mode, str(busy.cwd)))


async def test_codex_wants_a_thread_that_we_hold(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    row = "Codex wants a thread that we hold"
    with busy_codex(release, model, tmp_path) as busy:
        busy.finish()
    async with open_store(busy.url) as store, ThreadManager(store) as manager:
        live = await manager.resume(busy.thread_id)
        assert isinstance(live, LiveThread)
        await live.append_items(our_turn(busy.thread_id, "legacy", str(busy.cwd)))
        with release.serve(busy.home, busy.cwd) as server:
            if release >= FIRST_WITH_LOCKS:
                with pytest.raises(RpcError, match="already has an active writer"):
                    server.call("thread/resume", threadId=busy.thread_id)
                with pytest.raises(RpcError, match="already has an active writer"):
                    server.call("thread/archive", threadId=busy.thread_id)
                cells.works("together", row)
                return
            server.call("thread/resume", threadId=busy.thread_id)
            server.run_turn(busy.thread_id, FIRST)
            await live.append_items(our_turn(busy.thread_id, "legacy", str(busy.cwd)))
            server.run_turn(busy.thread_id, FIRST)
        both = [*ENDED, BY_US, ENDED[0], BY_US, ENDED[0]]
        assert told(await turns(store, busy.thread_id)) == both
    how = "it takes no lock and writes as well; every line of both is kept"
    cells.differs("together", row, how)


async def test_a_fork_of_a_thread_in_a_turn_has_all_that_was_written(
    release: Release, cells: Cells, model: ModelServer, tmp_path: Path
) -> None:
    with busy_codex(release, model, tmp_path) as busy:
        async with open_store(busy.url) as store, ThreadManager(store) as manager:
            fork = await manager.fork(busy.thread_id)
            assert told(await turns(store, fork.id)) == OPEN
            await manager.close()
        busy.finish()
        assert told(busy.read()["turns"]) == ENDED
        answer = busy.server.call("thread/read", threadId=fork.id, includeTurns=True)
        assert told(answer["thread"]["turns"]) == OPEN
        assert msgspec.json.decode(busy.log().splitlines()[0])["payload"]["id"] == busy.thread_id
    cells.works("together", "our fork of a thread that is in a turn of Codex")
