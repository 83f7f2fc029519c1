"""Paginated threads: what Codex shows of them, and what must be true of its projection."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
from tests.codex.app_server import AppServer, write_config
from tests.codex.comparing import differences, facts, told
from tests.codex.model_server import ANSWERS

from threadstore.ids import new_thread_id
from threadstore.protocol.codex_thread import protocol_thread
from threadstore.testing import items

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from tests.codex.model_server import ModelServer
    from tests.codex.releases import Release

    from threadstore.history.items import RolloutItem
    from threadstore.metadata import StoredThread

ASKED = "A turn by Codex [scene plain]"
BY_CODEX = ("completed", [ASKED, ANSWERS["plain"]])
BY_US = ("completed", ["A turn by us", "Answered by us"])

SHOWN_AFTER_RESUME = (
    "Codex shows what we wrote once it resumes or forks the thread, as it does with what another"
    " Codex wrote: until then it shows its own projection"
)


class Place(NamedTuple):
    """A home with its working directory and a release that works in it."""

    release: Release
    home: Path
    cwd: Path

    @classmethod
    def make(cls, release: Release, model: ModelServer, folder: Path) -> Place:
        home, cwd = folder / "home", folder / "work"
        cwd.mkdir()
        write_config(home, model.url)
        return cls(release, home, cwd)

    def serve(self) -> AppServer:
        return self.release.serve(self.home, self.cwd)

    def path(self, thread_id: str) -> Path:
        """The newest file of a thread."""
        return max(self.home.glob(f"sessions/**/*{thread_id}*"), key=lambda path: path.name)


def our_turn(cwd: Path) -> list[RolloutItem]:
    """A turn in the words of legacy threads, as a caller of ours may say it."""
    return items.turn(new_thread_id(), "A turn by us", "Answered by us", cwd=str(cwd))


def shown(server: AppServer, thread_id: str) -> list[tuple[str, list[str]]]:
    """The turns that Codex shows, the same by every method."""
    read = server.call("thread/read", threadId=thread_id, includeTurns=True)["thread"]["turns"]
    listed = server.call("thread/turns/list", threadId=thread_id, itemsView="full", limit=100)
    assert told(sorted(listed["data"], key=lambda turn: str(turn["id"]))) == told(
        sorted(read, key=lambda turn: str(turn["id"]))
    )
    found = server.call("thread/items/list", threadId=thread_id, limit=100)["data"]
    ids = {item["id"] for turn in read for item in turn["items"]}
    assert {entry["item"]["id"] for entry in found} == ids
    return told(read)


def check_metadata(
    server: AppServer, threads: Iterable[StoredThread], *, hidden: Collection[str] = ()
) -> None:
    """Codex lists and reads the threads with the facts that we know.

    Its default list takes the preview of a fork or a reverted thread from the newest file alone, in
    homes of its own as well (0.169); what it reads, and its list from the database, is what counts.
    *hidden* are not in the default list.
    """
    ours = {thread.id: facts(protocol_thread(thread)) for thread in threads}
    ids = {thread["id"] for thread in server.call("thread/list", limit=100)["data"]}
    assert ids & ours.keys() == ours.keys() - set(hidden)
    listed = server.call("thread/list", limit=100, useStateDbOnly=True)["data"]
    assert differences(ours, {thread["id"]: facts(thread) for thread in listed}) == []
    for thread_id, known in ours.items():
        read = server.call("thread/read", threadId=thread_id)["thread"]
        assert differences({thread_id: known}, {thread_id: facts(read)}) == []


def check_projection(home: Path) -> None:
    """What Codex keeps of paginated rollouts in its own database fits the files.

    Places are byte offsets and ordinals; a turn's end is where its last line ends.
    """
    path = home / "thread_history_1.sqlite"
    columns = "rollout_ordinal, rollout_byte_offset, rollout_end_ordinal, rollout_end_byte_offset"
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as database:
        turns = list(database.execute(f"SELECT thread_id, {columns} FROM thread_turns"))
        ends = list(database.execute("SELECT * FROM thread_history_projection_state"))
    assert turns
    for rollout_id, start, offset, end, end_offset in turns:
        data = _rollout(home, rollout_id)
        assert _line(data, offset)["ordinal"] == start
        if end is not None:
            assert _line(data, data.rindex(b"\n", 0, end_offset - 1) + 1)["ordinal"] == end
    for rollout_id, offset, ordinal in ends:
        data = _rollout(home, rollout_id)
        assert data[:offset].endswith(b"\n")
        if offset < len(data):
            assert _line(data, offset)["ordinal"] == ordinal


def check_ordinals(place: Place, thread_id: str) -> None:
    """The readable lines of a thread's own file are numbered without a gap."""
    ordinals = []
    for line in place.path(thread_id).read_bytes().splitlines():
        try:
            ordinals.append(json.loads(line)["ordinal"])
        except ValueError:
            continue
    assert ordinals == list(range(ordinals[0], ordinals[0] + len(ordinals)))


def _rollout(home: Path, rollout_id: str) -> bytes:
    paths = [*home.glob(f"sessions/**/*{rollout_id}.jsonl")]
    paths += home.glob(f"archived_sessions/*{rollout_id}.jsonl")
    (path,) = paths
    return path.read_bytes()


def _line(data: bytes, offset: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data[offset : data.index(b"\n", offset)])
    return found
