"""Logs that Codex refuses, repaired: Codex lists, reads and continues their threads again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.codex.comparing import our_turns, told
from tests.codex.damage import WELL, DamagedHome
from tests.codex.model_server import ANSWERS, ModelServer
from tests.golden_homes import Golden

from threadstore.errors import CorruptHistory
from threadstore.factory import open_store
from threadstore.stores.local.compression import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.codex.cells import Cells
    from tests.codex.releases import Release

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

FIRST_OF_NEW_READER = (0, 144, 0)
STRANGER = "01a201ca-7613-7000-8000-000000000000"


def header(**fields: Any) -> Callable[[bytes], bytes]:
    """Another value in the header."""

    def change(log: bytes) -> bytes:
        first, _, rest = log.partition(b"\n")
        line = json.loads(first)
        line["payload"].update(fields)
        return json.dumps(line, separators=(",", ":")).encode() + b"\n" + rest

    return change


def copied_header(log: bytes) -> bytes:
    """The own header torn, that of another thread behind it, as in a fork."""
    first, _, rest = log.partition(b"\n")
    line = json.loads(first)
    line["payload"] |= {"id": STRANGER, "session_id": STRANGER}
    return first[:50] + b"\n" + json.dumps(line).encode() + b"\n" + rest


def message_first(log: bytes) -> bytes:
    """A message before the header."""
    return next(line for line in log.splitlines(True) if b'"response_item"' in line) + log


def without_time(log: bytes) -> bytes:
    """A header line without its timestamp."""
    first, _, rest = log.partition(b"\n")
    line = json.loads(first)
    del line["timestamp"]
    return json.dumps(line).encode() + b"\n" + rest


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "bad byte in the header": lambda log: log.replace(b'or":"', b'or":"\xff', 1),
    "bad byte in a message": lambda log: b"plain\xff answer".join(log.rsplit(b"plain answer", 1)),
    "line of garbage that is not UTF-8": lambda log: log + b"\xff\xfe\x00\n",
    "byte order mark": lambda log: b"\xef\xbb\xbf" + log,
    "header missing": lambda log: log.partition(b"\n")[2],
    "header torn": lambda log: log[:60] + b"\n" + log.partition(b"\n")[2],
    "header torn, that of another thread follows": copied_header,
    "header not the first line": message_first,
    "garbage before the header": lambda log: b"{garbage\n" + log,
    "header without a time": without_time,
    "unknown history_mode in the header": header(history_mode="novel"),
    "unknown kind of source in the header": header(source={"weird": 1}),
    "unknown word as source in the header": header(source="cloud"),
    "wrong type in the header": header(thread_source=5, cwd=None),
    "half a surrogate pair in the header": header(originator="x\ud800"),
}
HARMLESS_TO = {
    "garbage before the header": "old",
    "header not the first line": "old",
    "unknown history_mode in the header": "old",
    "bad byte in a message": "paginated",
    "line of garbage that is not UTF-8": "paginated",
}
"""Where a release or history mode does not mind."""


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_repaired_log_is_listed_read_and_continued(
    release: Release, mode: str, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    if mode not in release.modes:
        return
    home = DamagedHome(release, mode, model, tmp_path, DAMAGE)
    for word, change in DAMAGE.items():
        home.rewrite(word, change)
    before = home.look()
    for word, seen in before.items():
        kind = HARMLESS_TO.get(word)
        harmless = kind == mode or (kind == "old" and release < FIRST_OF_NEW_READER)
        assert (seen == WELL) is harmless, (word, seen)

    async with open_store(f"local:{home.path}") as store:
        damaged = {f.thread_id for f in await store.inspect() if f.repairable}
        assert damaged == set(home.ids.values())
        for word, thread_id in home.ids.items():
            was = await store.read_thread(thread_id)
            log = home.rollout(word).read_bytes()
            repair = await store.repair_thread(thread_id)
            assert repair.changes, word
            assert repair.original is not None
            assert Path(repair.original).read_bytes() == log
            good = {line for line in log.splitlines() if line.isascii()}
            good.discard(log.splitlines()[0])
            assert good <= set(home.rollout(word).read_bytes().splitlines()), word
            now = await store.read_thread(thread_id)
            if "source" in word and mode == "legacy":
                assert (was.source, now.source) in (("vscode", "vscode"), ("unknown", "vscode"))
            else:
                assert now == was, word
        assert not any(finding.repairable for finding in await store.inspect())

    after = home.use()
    assert after == dict.fromkeys(DAMAGE, WELL)
    answer = ["Another turn [scene plain]", ANSWERS["plain"]]
    for thread_id in home.ids.values():
        turns = told(await our_turns(home.path, thread_id, damaged=_damaged(home, thread_id)))
        assert len(turns) == 2
        assert turns[-1] == ("completed", answer)
    for word in DAMAGE:
        cells.works("damaged", f"{word}: repaired")


def _damaged(home: DamagedHome, thread_id: str) -> bool:
    """Whether a line stays that nobody can read."""
    words = {word for word, known in home.ids.items() if known == thread_id}
    return bool(words & {
        "header torn", "header torn, that of another thread follows",
        "line of garbage that is not UTF-8", "garbage before the header",
    })  # fmt: skip


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_compressed_data_that_break_off_are_repaired_as_far_as_they_go(
    release: Release, mode: str, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    if mode not in release.modes:
        return
    home = DamagedHome(release, mode, model, tmp_path, ["torn", "lost"])
    plain = home.rollout("torn")
    log = plain.read_bytes()
    last = log.rstrip(b"\n").rfind(b"\n") + 1
    whole, broken = zstd.compress(log[:last]), zstd.compress(log[last:])[:-3]
    plain.with_name(f"{plain.name}.zst").write_bytes(whole + broken)
    plain.unlink()
    nothing = home.rollout("lost")
    nothing.with_name(f"{nothing.name}.zst").write_bytes(b"no frame")
    nothing.unlink()
    assert not any(seen.continued for seen in home.look().values())

    async with open_store(f"local:{home.path}") as store:
        repair = await store.repair_thread(home.ids["torn"])
        with pytest.raises(CorruptHistory):
            await store.repair_thread(home.ids["lost"])
    assert repair.changes[-1].line is None
    assert home.rollout("torn").read_bytes().startswith(log[:last])
    assert home.use(["torn"]) == {"torn": WELL}
    cells.works("damaged", "compressed log that breaks off: repaired up to there")
    why = "no line of it can be read; the thread is listed by us with what its row says"
    cells.unsupported("damaged", "compressed log that is no such data", why)


async def test_bare_lines_of_codex_029_are_put_into_todays_form(
    release: Release, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    golden = Golden("0.29.0")
    home = DamagedHome(release, "legacy", model, tmp_path, [])
    archive = golden.unpack(tmp_path)
    (archive / "sessions").rename(home.path / "sessions")
    home.ids = dict(golden.examples)
    assert not any(seen.in_files or seen.read for seen in home.look().values())

    async with open_store(f"local:{home.path}") as store:
        was = {word: await store.read_thread(id_) for word, id_ in home.ids.items()}
        before = {word: told(await our_turns(home.path, id_)) for word, id_ in home.ids.items()}
        for word, thread_id in home.ids.items():
            lines = home.rollout(word).read_bytes().splitlines()
            assert (await store.repair_thread(thread_id)).changes
            repaired = home.rollout(word).read_bytes()
            assert all(line in repaired for line in lines[1:]), word
            assert await store.read_thread(thread_id) == was[word]
        await store.inspect(fix=True)
    assert home.use() == dict.fromkeys(home.ids, WELL)
    for word, thread_id in home.ids.items():
        turns = told(await our_turns(home.path, thread_id))
        assert [said for _, said in turns[:-1]] == [said for _, said in before[word]]
        assert before[word][0][1][0] == golden.prompts[word]
        assert turns[-1][1] == ["Another turn [scene plain]", ANSWERS["plain"]]
    cells.works("damaged", "bare lines of 0.29: repaired")
