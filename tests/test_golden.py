"""Homes of real Codex releases in another folder: all there, equal or better, untouched."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from tests.golden_homes import LABELS, Golden, Json, load

from threadstore.errors import InvalidRequest
from threadstore.factory import open_store
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.history.turns import build_turns
from threadstore.protocol.codex_thread import protocol_thread, protocol_turn
from threadstore.queries import SortKey, ThreadQuery

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from pathlib import Path

    from threadstore.metadata import StoredThread

EVERYTHING: Final = ThreadQuery(archived=None, limit=1000)
SORT_KEYS: Final = {
    "created_at": SortKey.CREATED,
    "updated_at": SortKey.UPDATED,
    "recency_at": SortKey.RECENCY,
}
COMPARED: Final = (
    *("name", "preview", "gitInfo", "modelProvider", "model", "source", "cwd", "cliVersion"),
    *("createdAt", "updatedAt", "recencyAt", "sessionId", "forkedFromId", "parentThreadId"),
    *("historyMode", "agentNickname", "agentRole", "threadSource", "originator", "archived"),
    "memoryMode",
)
"""Members of the protocol's ``Thread``; each is compared where the release answers with it."""

MEMBERS_OF_ROWS: Final = {"model": "model", "memory_mode": "memoryMode"}
"""What releases before 0.169 keep in their table and do not answer."""

TORN: Final = b'{"timestamp":"2026-01-01T00:00:00.000Z","type":"event_msg","payl'
"""What the recorder put at the end of two files, as a crash would."""


class Mistake(NamedTuple):
    """Something that releases get wrong about their own threads, and what is right."""

    what: str
    member: str
    right: dict[str, Any]
    """The right value by example; a function finds it."""
    releases: tuple[tuple[int, ...], tuple[int, ...]]
    """The first and the last that make the mistake (among the recorded ones)."""

    variant: str = ""
    """If it takes a special home, which one."""

    def made_by(self, golden: Golden) -> bool:
        """Whether it is in this home's answers. Upgraded homes are in newer, better hands."""
        first, last = self.releases
        here = golden.variant == self.variant if self.variant else golden.variant != "upgraded"
        return here and first <= golden.release <= last

    def put_right(self, golden: Golden, example: str) -> Any:
        """What the release should have answered."""
        right = self.right[example]
        return right(golden) if callable(right) else right


NAMES: Final = {
    "named": "A name of its own 🚀",
    "renamed": "Second name",
    "named_as_message": "Just this text",
    "everything_edited": "Edited in every way",
    "archived_named": "Archived with a name",
}
REPOSITORY: Final = {
    "sha": "7989181715ce76acb520b9ac79379480647ad070",
    "branch": "main",
    "originUrl": "https://git.example.test/ann/sample.git",
}
MISTAKES: Final = (
    Mistake("no names after a restart", "name", NAMES, ((0, 100, 0), (0, 100, 0))),
    Mistake(
        "a name equal to the first message is taken for the derived title",
        "name",
        {"named_as_message": NAMES["named_as_message"]},
        ((0, 121, 0), (0, 121, 0)),
    ),
    Mistake(
        "a blank message is a preview",
        "preview",
        {"blank_text": "Only the second one says something"},
        ((0, 57, 0), (0, 100, 0)),
    ),
    Mistake(
        "a message of pictures alone is no preview",
        "preview",
        {"image_only": "[Image]"},
        ((0, 57, 0), (0, 100, 0)),
    ),
    Mistake(
        "passwords in the URL are kept",
        "gitInfo",
        {"credentials": REPOSITORY},
        ((0, 77, 0), (0, 150, 1)),
    ),
    Mistake(
        "a fork without a turn of its own has no preview",
        "preview",
        {"fork_untouched": "Fork from here [scene tool]"},
        ((0, 155, 0), (0, 160, 1)),
    ),
    Mistake(
        "a new database has no names of paginated threads, though the name index has",
        "name",
        {**NAMES, "named_before_start": "Named before its first turn"},
        ((0, 169, 0), (0, 169, 0)),
        "rebuilt",
    ),
    Mistake(
        "a new database has no preview of a fork without a turn of its own",
        "preview",
        {"fork_untouched": "Fork from here [scene tool]"},
        ((0, 169, 0), (0, 169, 0)),
        "rebuilt",
    ),
    Mistake(
        "a sub-agent that is not loaded has its own session, not that of its parent",
        "sessionId",
        {
            "sub-agent": lambda golden: golden.examples["spawner"],
            "review": lambda golden: golden.examples["reviewed"],
        },
        ((0, 142, 5), (0, 169, 0)),
    ),
)


@pytest.fixture(params=LABELS)
def golden(request: pytest.FixtureRequest) -> Golden:
    return load(request.param)


def expected(golden: Golden, thread_id: str) -> Json:
    """What the release answers about a thread, with its mistakes put right."""
    example = golden.example(thread_id)
    answer = answered(golden, thread_id)
    if example in golden.prompts:
        answer["preview"] = golden.prompts[example]
    for mistake in MISTAKES:
        if example in mistake.right and mistake.made_by(golden):
            answer[mistake.member] = mistake.put_right(golden, example)
    if example == "torn" and not golden.rows:
        answer.pop("updatedAt", None)  # the time at which the recorder damaged the file
    return answer


def answered(golden: Golden, thread_id: str) -> Json:
    """What the release itself answers; members that it never uses are not there."""
    answer = golden.threads.get(thread_id, {})
    if "id" not in answer:
        return {}
    known = {member for thread in golden.threads.values() for member in thread}
    facts: Json = {member: answer.get(member) for member in known | {"name"}}
    if not facts.get("gitInfo", True):
        facts["gitInfo"] = None  # up to 0.77 an empty repository is ``{}``
    facts["preview"] = (facts["preview"] or "").strip()  # as later releases do themselves
    facts["archived"] = thread_id in golden.lists.get("archived", {}).get("created_at", ())
    row = golden.rows.get(thread_id, {})
    facts |= {MEMBERS_OF_ROWS[column]: row[column] for column in MEMBERS_OF_ROWS if column in row}
    return facts


def hashes(home: Path) -> dict[str, str]:
    """Every file of Codex with its content; our own index database is not one."""
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.startswith("threadstore_1.sqlite")
    }


def rollouts(home: Path) -> dict[str, bytes]:
    """The content of every rollout by name, decompressed."""
    content = {path.name: path.read_bytes() for path in home.glob("*sessions/**/*.jsonl")}
    for path in home.glob("*sessions/**/*.jsonl.zst"):
        content[path.name] = zstd.decompress(path.read_bytes())
    return content


def test_every_line_can_be_written_back_byte_for_byte(golden: Golden, tmp_path: Path) -> None:
    files = rollouts(golden.unpack(tmp_path))
    assert len(files) >= len(golden.ids)
    for content in files.values():
        for line in content.split(b"\n")[:-1]:
            try:
                assert RolloutItem.parse(line).line() == line
            except InvalidRequest:
                assert line.startswith(TORN)


async def test_every_thread_is_listed_with_what_its_release_says(
    golden: Golden, tmp_path: Path
) -> None:
    home = golden.unpack(tmp_path)
    async with open_store(f"local:{home}") as store:
        page = await store.list_threads(EVERYTHING)
        for thread in page.items:
            assert await store.read_thread(thread.id) == thread
    assert sorted(thread.id for thread in page.items) == sorted(golden.ids)
    wrong = {
        f"{golden.example(thread.id)}.{member}": (ours, theirs)
        for thread in page.items
        for member, ours, theirs in differences(golden, thread)
    }
    assert wrong == {}


def differences(golden: Golden, thread: StoredThread) -> list[tuple[str, Any, Any]]:
    """Where our thread differs from what is expected."""
    ours = without_nulls(protocol_thread(thread))
    ours |= {"archived": thread.archived, "memoryMode": thread.memory_mode}
    theirs = expected(golden, thread.id)
    return [
        (member, ours.get(member), theirs[member])
        for member in COMPARED
        if member in theirs and ours.get(member) != theirs[member]
    ]


def without_nulls(value: Any) -> Any:
    """As in ``answers.json``."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_releases_make_the_mistakes_that_are_put_right(mistake: Mistake) -> None:
    made = 0
    for golden in filter(mistake.made_by, map(load, LABELS)):
        for thread_id in golden.ids:
            example, answer = golden.example(thread_id), answered(golden, thread_id)
            if answer and example in mistake.right:
                right = mistake.put_right(golden, example)
                assert answer[mistake.member] != right, golden.label
                made += 1
    assert made > 0


async def test_lists_are_in_the_order_of_the_release(golden: Golden, tmp_path: Path) -> None:
    if not golden.rows:
        return  # the oldest order by whole seconds
    home = golden.unpack(tmp_path)
    async with open_store(f"local:{home}") as store:
        for name, by_key in golden.lists.items():
            for key, ids in by_key.items():
                query = ThreadQuery(
                    archived=name == "archived", sort_key=SORT_KEYS[key], limit=1000
                )
                page = await store.list_threads(query)
                ours = [thread.id for thread in page.items if thread.id in ids]
                assert ours == ids, (name, key)


async def test_without_its_database_every_thread_is_still_listed(
    golden: Golden, tmp_path: Path
) -> None:
    home = golden.unpack(tmp_path)
    home.joinpath("state_5.sqlite").unlink(missing_ok=True)
    async with open_store(f"local:{home}") as store:
        page = await store.list_threads(EVERYTHING)
    assert {thread.id for thread in page.items} == golden.ids
    for thread in page.items:
        wanted = expected(golden, thread.id)
        if golden.example(thread.id) not in ("fork", "rolled_back", "goal_only"):
            # Some releases have in their table what is not in the log, or of a later message.
            assert thread.preview == wanted.get("preview", thread.preview)
        assert thread.cwd == wanted.get("cwd", thread.cwd)


async def test_turns_are_those_of_the_release(golden: Golden, tmp_path: Path) -> None:
    home = golden.unpack(tmp_path)
    written = b"".join(rollouts(home).values())
    async with open_store(f"local:{home}") as store:
        for thread_id, answer in golden.threads.items():
            if answer.get("turns") is None:
                continue
            history = await store.load_history(thread_id)
            ours = [told(protocol_turn(turn), written) for turn in build_turns(history.items)]
            theirs = [told(turn, written) for turn in answer["turns"]]
            if golden.example(thread_id) == "killed" and theirs[-1]["id"]:
                theirs[-1]["status"] = "interrupted"  # to 0.100 it is completed
            if golden.example(thread_id) == "reviewed" and golden.release <= (0, 100, 0):
                # It joins two turns that all later releases keep apart.
                assert everything_said(ours) == everything_said(theirs)
                continue
            assert ours == theirs, golden.example(thread_id)


def told(turn: Json, written: bytes) -> Json:
    """What counts of a turn: its id, how it ended and what was said."""
    said = [
        (item["type"], item.get("text") or texts(item.get("content")))
        for item in turn["items"]
        if item["type"] in ("userMessage", "agentMessage")
    ]
    # A turn whose id is not on disk has one of the reader's making.
    turn_id = turn["id"] if turn["id"].encode() in written else None
    return {"id": turn_id, "status": turn["status"], "said": said}


def everything_said(turns: list[Json]) -> list[Any]:
    """What was said in all turns, in any order."""
    return sorted(said for turn in turns for said in turn["said"])


def texts(content: Any) -> list[str]:
    """The texts of a user message, without pictures."""
    parts = [part["text"] for part in content or [] if part["type"] == "text"]
    return [text for text in parts if text.strip()]


async def test_reading_changes_no_file_of_codex(golden: Golden, tmp_path: Path) -> None:
    home = golden.unpack(tmp_path)
    before = hashes(home)
    async with open_store(f"local:{home}") as store:
        for thread in (await store.list_threads(EVERYTHING)).items:
            await store.load_history(thread.id)
            await store.list_turns(thread.id)
        await store.inspect()
    assert hashes(home) == before


async def test_only_what_a_crash_tore_is_damaged(golden: Golden, tmp_path: Path) -> None:
    home = golden.unpack(tmp_path)
    torn = {golden.examples.get("torn"), golden.examples.get("torn_resumed")}
    async with open_store(f"local:{home}") as store:
        for thread in (await store.list_threads(EVERYTHING)).items:
            entries = [entry async for entry in store.iter_history(thread.id)]
            damage = [entry for entry in entries if isinstance(entry, DamagedLine)]
            assert len(damage) == (thread.id in torn)
            assert all(entry.raw.startswith(TORN) for entry in damage)
