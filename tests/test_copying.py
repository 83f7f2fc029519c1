"""Copies between stores: exact, resumable, the same when made again, and nothing but copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from threadstore.copying import CopiedThread, Copier, all_thread_ids
from threadstore.errors import Conflict, InvalidRequest, StoreUnavailable, ThreadNotFound
from threadstore.factory import open_store
from threadstore.history.items import RolloutItem
from threadstore.metadata import (
    GitInfo,
    HistoryBase,
    MetadataOrigin,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
)
from threadstore.store import AppendReceipt, ThreadStore
from threadstore.testing import ManualClock, items
from threadstore.testing.postgres_server import PostgresServer
from threadstore.testing.seeds import record_thread, spawned_by
from threadstore.testing.wrapper import ThreadStoreWrapper

EXPLICIT = MetadataOrigin.EXPLICIT
NOT_COPIED = frozenset({"rollout_path", "archived_at", "session_id"})
"""Where a log lies, when exactly it was archived; no old log says a session, but stores do."""
CODEX_ONLY = frozenset(
    {
        *("section", "section_position", "section_entered_at", "project_id", "daybreak_enabled"),
        "extra_config",
    }
)
"""What only Codex's own database holds, and no patch says."""


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    name = postgres_server.new_database()
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


@pytest.fixture(params=["memory", "local", "postgres"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return "memory:" if request.param == "memory" else f"local:{tmp_path / 'destination'}"


async def copy(source: ThreadStore, destination: ThreadStore, *ids: str) -> dict[str, CopiedThread]:
    """What became of these threads, or of all."""
    chosen = ids or await all_thread_ids(source)
    return {done.thread_id: done async for done in Copier(source, destination).run(chosen)}


async def raw(store: ThreadStore, thread_id: str) -> bytes:
    data = b"".join([chunk async for chunk in store.raw_history(thread_id)])
    return data if data.endswith(b"\n") or not data else data + b"\n"


async def history(store: ThreadStore, thread_id: str) -> list[bytes]:
    loaded = await store.load_history(thread_id)
    return [item.line() for item in loaded.items]


def facts(thread: StoredThread, *without: str) -> dict[str, Any]:
    fields = msgspec.structs.asdict(thread)
    left_out = NOT_COPIED | CODEX_ONLY | set(without)
    return {"archived": thread.archived} | {k: v for k, v in fields.items() if k not in left_out}


async def equal(source: ThreadStore, destination: ThreadStore, thread_id: str) -> None:
    assert await raw(destination, thread_id) == await raw(source, thread_id)
    assert await history(destination, thread_id) == await history(source, thread_id)
    there, here = await destination.read_thread(thread_id), await source.read_thread(thread_id)
    assert facts(there) == facts(here)


async def record(store: ThreadStore, clock: ManualClock, text: str = "work", **new: Any) -> str:
    clock.advance(60)
    return (await record_thread(store, clock, text, **new)).id


async def append(store: ThreadStore, thread_id: str, *given: RolloutItem) -> None:
    await store.resume_thread(thread_id)
    await store.append_items(thread_id, given)
    await store.shutdown_thread(thread_id)


class TestEveryStore:
    async def test_threads_arrive_with_all_they_have(self, new_url: str) -> None:
        clock = ManualClock()
        git = GitInfo(sha="0" * 40, branch="main", origin_url="https://example.org/a.git")
        async with open_store("memory:", clock=clock) as source:
            parent = await record(source, clock, name="Named", git=git, memory_mode="disabled")
            child = await record(source, clock, source=spawned_by(parent), parent_thread_id=parent)
            paginated = await record(source, clock, history_mode="paginated", name="Pages")
            await source.archive_thread(parent)
            await source.unarchive_thread(child)
            async with open_store(new_url) as destination:
                done = await copy(source, destination)
                assert {one.result for one in done.values()} == {"copied"}
                for thread_id in (parent, child, paginated):
                    await equal(source, destination, thread_id)
                assert (await destination.read_thread(parent)).archived

    async def test_again_copies_only_what_is_new(self, new_url: str) -> None:
        clock = ManualClock()
        async with open_store("memory:", clock=clock) as source:
            old, grown = await record(source, clock), await record(source, clock)
            async with open_store(new_url) as destination:
                await copy(source, destination)
                again = await copy(source, destination)
                assert {(one.result, one.lines) for one in again.values()} == {("unchanged", 0)}
                await append(source, grown, items.agent_message("a"), items.agent_message("b"))
                new = await record(source, clock, name="new")
                third = await copy(source, destination)
                assert (third[old].result, third[old].lines) == ("unchanged", 0)
                assert (third[grown].result, third[grown].lines) == ("extended", 2)
                assert third[new].result == "copied"
                for thread_id in (old, grown, new):
                    await equal(source, destination, thread_id)

    async def test_metadata_follows_without_new_lines(self, new_url: str) -> None:
        clock = ManualClock()
        async with open_store("memory:", clock=clock) as source:
            thread_id = await record(source, clock, name="First")
            async with open_store(new_url) as destination:
                await copy(source, destination)
                lines = await raw(destination, thread_id)
                patch = ThreadMetadataPatch(name=None, reasoning_effort="low")
                await source.update_thread_metadata(thread_id, patch, origin=EXPLICIT)
                await copy(source, destination)
                there = await destination.read_thread(thread_id)
                assert (there.name, there.reasoning_effort) == (None, "low")
                assert await raw(destination, thread_id) == lines

    async def test_a_thread_that_was_archived_goes_on(self, new_url: str) -> None:
        clock = ManualClock()
        async with open_store("memory:", clock=clock) as source:
            thread_id = await record(source, clock)
            async with open_store(new_url) as destination:
                await source.archive_thread(thread_id)
                await copy(source, destination)
                assert (await destination.read_thread(thread_id)).archived
                await source.unarchive_thread(thread_id)
                await append(source, thread_id, items.agent_message("more"))
                await source.archive_thread(thread_id)
                done = await copy(source, destination)
                assert done[thread_id].result == "extended"
                assert (await destination.read_thread(thread_id)).archived
                await source.unarchive_thread(thread_id)
                await copy(source, destination)
                await equal(source, destination, thread_id)

    @pytest.mark.parametrize("what", ["other lines", "more lines"])
    async def test_a_destination_with_other_lines_is_left_alone(
        self, new_url: str, what: str
    ) -> None:
        clock = ManualClock()
        async with open_store("memory:", clock=clock) as source:
            thread_id, fine = await record(source, clock), await record(source, clock)
            async with open_store(new_url) as destination:
                await copy(source, destination, thread_id)
                await append(destination, thread_id, items.agent_message("there"))
                if what == "other lines":
                    await append(source, thread_id, items.agent_message("here"))
                before = await raw(destination, thread_id)
                done = await copy(source, destination)
                assert isinstance(done[thread_id].error, Conflict)
                assert what in str(done[thread_id].error)
                assert await raw(destination, thread_id) == before
                assert done[fine].result == "copied"

    async def test_a_copy_that_breaks_off_is_continued(self, new_url: str) -> None:
        clock = ManualClock()
        async with open_store("memory:", clock=clock) as source:
            thread_id = await record(source, clock)
            many = [items.agent_message(str(number)) for number in range(2500)]
            await append(source, thread_id, *many)
            async with open_store(new_url) as destination:
                broken = await copy(source, _BreaksOff(destination), thread_id)
                assert isinstance(broken[thread_id].error, StoreUnavailable)
                done = await copy(source, destination)
                assert done[thread_id].result == "extended"
                assert 0 < done[thread_id].lines < 2500
                await equal(source, destination, thread_id)

    async def test_a_thread_that_is_written_there_is_a_conflict_of_its_own(
        self, new_url: str
    ) -> None:
        clock = ManualClock()
        async with open_store("memory:", clock=clock) as source:
            busy, free = await record(source, clock), await record(source, clock)
            async with open_store(new_url) as destination:
                await copy(source, destination, busy)
                await append(source, busy, items.agent_message("more"))
                await destination.resume_thread(busy)
                done = await copy(source, destination)
                assert isinstance(done[busy].error, Conflict)
                assert done[free].result == "copied"

    async def test_a_live_source_is_copied_as_far_as_it_is(self, new_url: str) -> None:
        clock = ManualClock()
        async with open_store("memory:", clock=clock) as source:
            thread_id = await record(source, clock, live=True)
            async with open_store(new_url) as destination:
                for _ in range(2):
                    await source.append_items(thread_id, [items.agent_message("more")])
                    done = await copy(source, destination)
                    assert done[thread_id].error is None
                    assert await raw(destination, thread_id) == await raw(source, thread_id)

    async def test_damaged_and_blank_lines_are_copied(self, new_url: str) -> None:
        async with open_store("memory:") as source:
            thread = await source.create_thread(NewThread(cwd="/repo"))
            await source.append_items(thread.id, [items.agent_message("x")])
            lines = [b"", b'{"torn', b" \xff", b"\r"]
            await source.append_lines(thread.id, lines)
            async with open_store(new_url) as destination:
                await copy(source, destination)
                await equal(source, destination, thread.id)
                again = await copy(source, destination)
                assert again[thread.id].result == "unchanged"

    async def test_forks_arrive_with_what_they_stand_on(self, new_url: str) -> None:
        async with open_store("memory:") as source:
            base, fork, further = await _forks(source, "paginated")
            async with open_store(new_url) as destination:
                done = await copy(source, destination, further)
                assert list(done) == [base, fork, further]
                for thread_id in done:
                    await equal(source, destination, thread_id)
                    stands = await source.history_base(thread_id)
                    assert await destination.history_base(thread_id) == stands
                again = await copy(source, destination)
                assert {one.result for one in again.values()} == {"unchanged"}

    async def test_a_legacy_fork_has_its_whole_history(self, new_url: str) -> None:
        async with open_store("memory:") as source:
            base, fork, further = await _forks(source, "legacy")
            async with open_store(new_url) as destination:
                await copy(source, destination, further)
                for thread_id in (base, fork, further):
                    ours = await history(source, thread_id)
                    theirs = await history(destination, thread_id)
                    assert sorted(theirs) == sorted(ours)
                    header = (await raw(source, thread_id)).split(b"\n")[0]
                    assert (await raw(destination, thread_id)).startswith(header)
                again = await copy(source, destination)
                assert {one.result for one in again.values()} == {"unchanged"}
                await append(source, further, items.agent_message("more"))
                grown = await copy(source, destination)
                assert grown[further].lines == 1

    async def test_a_dry_run_changes_nothing(self, new_url: str) -> None:
        clock = ManualClock()
        async with open_store("memory:", clock=clock) as source:
            thread_id = await record(source, clock)
            lines = (await raw(source, thread_id)).count(b"\n")
            async with open_store(new_url) as destination:
                copier = Copier(source, destination, dry_run=True)
                (done,) = [one async for one in copier.run([thread_id])]
                assert (done.result, done.lines) == ("copied", lines)
                with pytest.raises(ThreadNotFound):
                    await destination.read_thread(thread_id)

    async def test_unknown_threads_fail_alone(self, new_url: str) -> None:
        clock = ManualClock()
        async with open_store("memory:", clock=clock) as source:
            thread_id, unknown = await record(source, clock), "01a201e5-a996-7a61-8db2-0000000000ff"
            async with open_store(new_url) as destination:
                done = await copy(source, destination, unknown, thread_id)
                assert isinstance(done[unknown].error, ThreadNotFound)
                assert done[thread_id].result == "copied"
                with pytest.raises(InvalidRequest):
                    await copy(source, destination, "no id")


class _BreaksOff(ThreadStoreWrapper):
    """Takes one batch, then the network is gone."""

    batches = 0

    async def append_lines(
        self, thread_id: str, lines: Sequence[bytes], *, expected_position: int | None = None
    ) -> AppendReceipt:
        self.batches += 1
        if self.batches > 1:
            raise StoreUnavailable("the network is gone")
        return await super().append_lines(thread_id, lines, expected_position=expected_position)


async def _forks(store: ThreadStore, mode: Any) -> tuple[str, str, str]:
    """A thread, a fork of it, and a fork of that one."""
    base = await store.create_thread(NewThread(cwd="/repo", history_mode=mode))
    await store.append_items(base.id, [items.user_message("x"), items.agent_message("y")])
    chain = [base.id]
    for position in (2, 4):
        new = NewThread(
            cwd="/repo",
            history_mode=mode,
            forked_from_id=chain[-1],
            history_base=HistoryBase(thread_id=chain[-1], position=position),
        )
        fork = await store.create_thread(new)
        await store.append_items(fork.id, [items.agent_message(f"own of {position}")] * 3)
        chain.append(fork.id)
    for thread_id in chain:
        await store.shutdown_thread(thread_id)
    return chain[0], chain[1], chain[2]


async def test_a_thread_whose_writer_is_about_to_go_is_waited_for(database: str) -> None:
    """As one that a killed copy was just writing."""
    async with open_store("memory:") as source, open_store(database) as destination:
        threads = [(await record_thread(source, ManualClock())).id for _ in range(2)]
        await copy(source, destination, *threads)
        await source.resume_thread(threads[0])
        await source.append_items(threads[0], [items.agent_message("more")])
        async with open_store(database) as other:
            await other.resume_thread(threads[0])
            copier = Copier(source, destination, patience=30)
            results = []
            async for done in copier.run(threads):
                results.append((done.thread_id, done.result))
                if done.result == "failed":
                    await other.shutdown_thread(threads[0])
        assert results == [
            (threads[0], "failed"),
            (threads[1], "unchanged"),
            (threads[0], "extended"),
        ]
        assert await raw(source, threads[0]) == await raw(destination, threads[0])


async def test_a_copied_file_has_the_time_of_its_thread(tmp_path: Path) -> None:
    """Codex fills a new database with the times of the files."""
    clock = ManualClock()
    async with open_store("memory:", clock=clock) as source:
        thread_id = await record(source, clock)
        async with open_store(f"local:{tmp_path}") as destination:
            await copy(source, destination)
            there = await destination.read_thread(thread_id)
        assert there.rollout_path is not None
        path = Path(there.rollout_path)
        assert path.stat().st_mtime == there.updated_at.timestamp()
        stamp = there.created_at.astimezone().strftime("%Y-%m-%dT%H-%M-%S")
        assert path.name == f"rollout-{stamp}-{thread_id}.jsonl"


async def test_an_unfinished_last_line_is_no_line_while_somebody_writes_it(tmp_path: Path) -> None:
    async with open_store(f"local:{tmp_path / 'one'}") as source:
        thread = await source.create_thread(NewThread(cwd="/repo"))
        await source.append_items(thread.id, [items.agent_message("x")])
        assert thread.rollout_path is not None
        whole = Path(thread.rollout_path).read_bytes()
        torn = b'{"timestamp":"2026-01-01T00:00:00Z","ty'
        async with open_store("memory:") as destination:
            with open(thread.rollout_path, "ab") as other:
                other.write(torn)
                other.flush()
                async with open_store(f"local:{tmp_path / 'one'}") as reader:
                    done = await copy(reader, destination)
                    assert await raw(destination, thread.id) == whole
            await source.shutdown_thread(thread.id)
            done = await copy(source, destination)
            assert (done[thread.id].result, done[thread.id].lines) == ("extended", 1)
            assert await raw(destination, thread.id) == whole + torn + b"\n"


async def test_a_memory_mode_that_the_log_denies_is_edited_once(tmp_path: Path) -> None:
    """The one case in which a copy in a home has a line of its own."""
    clock = ManualClock()
    async with open_store("memory:", clock=clock) as source:
        thread_id = await record(source, clock, memory_mode="disabled")
        patch = ThreadMetadataPatch(memory_mode="enabled")
        await source.update_thread_metadata(thread_id, patch, origin=EXPLICIT)
        async with open_store(f"local:{tmp_path}") as destination:
            await copy(source, destination)
            assert (await destination.read_thread(thread_id)).memory_mode == "enabled"
            lines = await raw(destination, thread_id)
            assert lines.startswith(await raw(source, thread_id))
            again = await copy(source, destination)
            assert again[thread_id].result == "unchanged"
            assert await raw(destination, thread_id) == lines


async def test_a_header_has_to_say_what_a_copied_fork_stands_on(tmp_path: Path) -> None:
    async with open_store("memory:") as source:
        base, fork, _ = await _forks(source, "paginated")
        async with open_store(f"local:{tmp_path}") as destination:
            await copy(source, destination, base)
            new = NewThread(
                cwd="/repo",
                id=fork,
                history_mode="paginated",
                history_base=await source.history_base(fork),
            )
            await destination.create_thread(new)
            with pytest.raises(InvalidRequest):
                await destination.append_lines(fork, [b"{}"])
