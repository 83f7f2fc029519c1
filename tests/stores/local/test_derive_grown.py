"""A rollout that has grown is read from where it was left, with the same result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.golden_homes import LABELS, load
from tests.stores.local.homes import CodexHome, header

from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.stores.local.derive import Derived, derive
from threadstore.stores.local.paths import Home, RolloutFile, find_rollout, scan, stat_rollout
from threadstore.testing import items

THREAD, OTHER = new_thread_id(), new_thread_id()
EDIT = {"patch": {"title": "edited", "updated_at": "2026-01-02T03:04:05Z"}}


def tally(*counters: int) -> dict[str, Any]:
    names = ("input_tokens", "cached_input_tokens", "output_tokens")
    return dict(zip(names, counters, strict=True))


LINES: list[RolloutItem | bytes] = [
    header(THREAD),
    header(THREAD, git={"branch": "other"}, memory_mode="disabled"),
    header(THREAD, threadstore=EDIT),
    header(OTHER),
    RolloutItem("session_meta", {"id": "no id"}),
    *items.turn("t1", "fix it"),
    *items.turn("t2", "and this"),
    *(
        RolloutItem(
            "event_msg",
            {
                "type": "token_count",
                "info": {
                    "total_token_usage": tally(n, 1, n),
                    "last_token_usage": tally(5, 1, 2),
                },
            },
        )
        for n in (5, 9, 3)
    ),
    RolloutItem("token_usage_record", {"usage": tally(4, 0, 1)}),
    b"",
    b"{",
    b"\xff\x00 no line",
]
PIECES = [
    line if isinstance(line, bytes) else line.encode("2026-05-04T03:02:01.123Z") for line in LINES
]


def whole_is_prefix_and_rest(home: Home, data: bytes, cuts: list[int], path: str) -> None:
    """Derive ever more of a file, and all of it at once."""
    find = lambda rollout_id: find_rollout(home, rollout_id)  # noqa: E731
    os.makedirs(os.path.dirname(path), exist_ok=True)
    before: Derived | None = None
    written = 0
    with open(path, "wb", buffering=0) as file:
        for cut in [*cuts, len(data)]:
            file.write(data[written:cut])
            written = cut
            now = stat_rollout(home, path)
            assert now is not None
            before = derive(now, find, before and reloaded(before))
            assert facts(before) == facts(derive(now, find))


def reloaded(derived: Derived) -> Derived:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(derived), type=Derived)


def facts(derived: Derived) -> Derived:
    return msgspec.structs.replace(derived, progress=b"")


@pytest.mark.parametrize("label", LABELS)
def test_every_history_of_codex_can_be_derived_in_pieces(tmp_path: Path, label: str) -> None:
    folder = load(label).unpack(tmp_path)
    home = Home(home=str(folder), sqlite_home=str(folder))
    for file in list(scan(home)):
        if file.actual_path != file.path:
            continue
        data = Path(file.path).read_bytes()
        ends = [index + 1 for index, byte in enumerate(data) if byte == 10]
        cuts = sorted({*ends, *(end + 7 for end in ends[:-1])})
        whole_is_prefix_and_rest(home, data, cuts[:: max(len(cuts) // 12, 1)], file.path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_lines_can_be_derived_in_pieces(tmp_path: Path, data: st.DataObject) -> None:
    lines = data.draw(st.lists(st.sampled_from(PIECES), max_size=12))
    content = b"".join(line + b"\n" for line in lines)
    if data.draw(st.booleans()):
        content = content[: -data.draw(st.integers(1, 30))]
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=4))
    home = CodexHome(tmp_path)
    named = data.draw(st.sampled_from([THREAD, OTHER]))
    whole_is_prefix_and_rest(home.home, content, sorted(cuts), home.path(named))


def grown(home: CodexHome, more: bytes) -> tuple[RolloutFile, Derived]:
    file = home.write([header(THREAD), *items.turn("t1", "fix it") * 9], THREAD)
    derived = home.derive(file)
    with open(file.path, "ab") as log:
        log.write(more)
    now = stat_rollout(home.home, file.path)
    assert now is not None
    return now, derived


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    home = CodexHome(tmp_path)
    file, before = grown(home, PIECES[1] + b"\n")
    with open(file.path, "r+b") as log:  # nobody looks there again
        log.seek(before.size // 2)
        log.write(b"#")
    derived = derive(file, lambda _id: None, before)
    assert derived.thread is not None
    assert derived.thread.memory_mode == "disabled"
    assert (derived.lines, derived.damaged) == (before.lines + 1, 0)


@pytest.mark.parametrize("place", [0, -1])
def test_a_file_that_was_rewritten_is_read_from_its_beginning(tmp_path: Path, place: int) -> None:
    home = CodexHome(tmp_path)
    file, before = grown(home, PIECES[1] + b"\n")
    with open(file.path, "r+b") as log:
        log.seek(place % before.size)
        log.write(b"#")
    derived = derive(file, lambda _id: None, before)
    assert derived.damaged == 1
    assert facts(derived) == facts(home.derive(file))


def test_another_file_in_its_place_is_read_from_its_beginning(tmp_path: Path) -> None:
    home = CodexHome(tmp_path)
    file, before = grown(home, b"")
    other = [header(THREAD), *items.turn("t1", "something else"), *items.turn("t2", "more")]
    os.rename(file.path, str(tmp_path / "aside"))
    now = home.write(other, path=file.path)
    assert facts(derive(now, lambda _id: None, before)) == facts(home.derive(now))
