"""The name index: what counts, what survives."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import pytest

from threadstore.errors import StoreUnavailable
from threadstore.stores.local import name_index
from threadstore.stores.local.paths import Home

A = "01a201e7-0000-7000-8000-00000000000a"
B = "01a201e7-0000-7000-8000-00000000000b"
NOW = dt.datetime(2026, 11, 22, 5, 42, 55, 721140, tzinfo=dt.UTC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(home=str(tmp_path), sqlite_home=str(tmp_path))


def put(home: Home, content: bytes) -> None:
    Path(home.name_index).write_bytes(content)


def content(home: Home) -> bytes:
    return Path(home.name_index).read_bytes()


def entry(thread_id: str, name: str) -> bytes:
    return b'{"id":"%s","thread_name":"%s","updated_at":"t"}\n' % (
        thread_id.encode(),
        name.encode(),
    )


def test_without_a_file_there_are_no_names(home: Home) -> None:
    assert name_index.load(home) == name_index.NameIndex(names={}, fingerprint=None)


def test_an_entry_is_written_as_codex_writes_it(home: Home) -> None:
    before = os.umask(0)
    try:
        name_index.append(home, A, 'Zoë\n\t"x"', NOW)
    finally:
        os.umask(before)
    assert content(home).decode() == (
        f'{{"id":"{A}","thread_name":"Zoë\\n\\t\\"x\\"","updated_at":"2026-11-22T05:42:55.72114Z"}}\n'
    )
    assert name_index.load(home).names == {A: 'Zoë\n\t"x"'}
    assert os.stat(home.name_index).st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("microsecond", "text"),
    [
        (0, "2026-11-22T05:42:55Z"),
        (10, "2026-11-22T05:42:55.00001Z"),
        (500_000, "2026-11-22T05:42:55.5Z"),
    ],
)
def test_trailing_zeros_of_a_time_are_left_out(home: Home, microsecond: int, text: str) -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    name_index.append(home, A, "x", NOW.replace(microsecond=microsecond).astimezone(zone))
    assert f'"updated_at":"{text}"' in content(home).decode()


def test_the_last_line_of_an_id_wins_also_a_blank_one(home: Home) -> None:
    put(home, entry(A, "old") + entry(B, "b") + entry(A, "  new ") + entry(B, " "))
    index = name_index.load(home)
    assert index.names == {A: "new", B: ""}
    assert list(index.names) == [A, B]
    name_index.append(home, A, None, NOW)
    assert name_index.load(home).names == {A: "", B: ""}


def test_what_is_no_entry_is_skipped_and_counted(home: Home) -> None:
    put(
        home,
        b"\n  \ngarbage\n"
        + entry(A, "x").replace(b'"x"', b'"\xff"')
        + entry("not an id", "x")
        + b'{"id":"%s","thread_name":"no time"}\n' % A.encode()
        + b'{"id":"%s","thread_name":5,"updated_at":"t"}\n' % A.encode()
        + entry(A.upper(), "kept")[:-2]
        + b',"extra":1}\r\n'
        + entry(B, "torn")[:-3],
    )
    index = name_index.load(home)
    assert index.names == {A: "kept"}
    assert index.skipped == 6


def test_a_torn_last_line_is_ended_before_an_entry_is_added(home: Home) -> None:
    put(home, entry(A, "a").rstrip(b"\n"))
    name_index.append(home, B, "b", NOW)
    assert name_index.load(home).names == {A: "a", B: "b"}
    for length in range(1, len(entry(A, "z")) - 1):
        put(home, entry(A, "a") + entry(A, "z")[:length])
        name_index.append(home, B, "b", NOW)
        names = name_index.load(home).names
        assert names[B] == "b"
        assert names[A] == ("z" if length == len(entry(A, "z")) - 1 else "a")


def test_the_fingerprint_changes_with_every_change(home: Home) -> None:
    seen = {name_index.load(home).fingerprint}
    name_index.append(home, A, "a", NOW)
    seen.add(name_index.load(home).fingerprint)
    name_index.append(home, B, "b", NOW)
    seen.add(name_index.load(home).fingerprint)
    assert name_index.remove(home, [A])
    seen.add(name_index.load(home).fingerprint)
    assert len(seen) == 4
    assert name_index.fingerprint(home) in seen


def test_of_an_index_that_has_grown_only_what_came_is_read(home: Home) -> None:
    put(home, entry(A, "a") + b"garbage\n")
    known = name_index.load(home)
    name_index.append(home, B, "b", NOW)
    grown = name_index.load(home, known)
    assert grown.news == frozenset({B})
    assert (grown.names, grown.skipped) == ({A: "a", B: "b"}, 1)
    assert name_index.load(home, grown).news == frozenset()
    alone = name_index.load(home)
    assert (alone.names, alone.checksum, alone.news) == (grown.names, grown.checksum, None)


@pytest.mark.parametrize("ends", [b"", b"\n"])
def test_an_index_that_was_written_anew_is_read_again(home: Home, ends: bytes) -> None:
    put(home, entry(A, "a").rstrip(b"\n") + ends)
    known = name_index.load(home)
    put(home, entry(A, "z") + entry(B, "b"))
    assert name_index.load(home, known).names == {A: "z", B: "b"}
    assert name_index.load(home, known).news is None
    put(home, b"")
    assert name_index.load(home, known).names == {}


@pytest.mark.parametrize("before", [b"", entry(A, "a"), entry(B, "z") + b"garbage\n"])
def test_what_an_added_entry_makes_of_an_index_need_not_be_read(home: Home, before: bytes) -> None:
    put(home, before)
    known = name_index.load(home)
    with name_index.adding(home) as add:
        added = add(B, " b ", NOW)
    assert added is not None
    if known.ends:
        assert name_index.with_added(known, added) == name_index.load(home, known)
    assert added.before == known.fingerprint
    assert added.after == name_index.fingerprint(home)


def test_an_entry_tells_nothing_of_an_index_that_somebody_else_adds_to(home: Home) -> None:
    put(home, entry(A, "a"))
    with name_index.adding(home) as add:
        put(home, content(home) + entry(A, "z"))
        assert add(B, "b", NOW) is None
    assert name_index.load(home).names == {A: "z", B: "b"}


def test_removing_keeps_every_other_byte(home: Home) -> None:
    kept = [
        b"garbage\xff\r\n",
        b"\n",
        entry(B, "b"),
        b'{"id":"%s"}\n' % A.encode(),
        entry(B, "c")[:-1],
    ]
    gone = [entry(A, "x"), entry(A.upper(), "y"), entry(A, "z")]
    put(home, kept[0] + gone[0] + kept[1] + gone[1] + kept[2] + kept[3] + gone[2] + kept[4])
    os.chmod(home.name_index, 0o640)
    assert name_index.remove(home, {A})
    assert content(home) == b"".join(kept)
    assert os.stat(home.name_index).st_mode & 0o777 == 0o640
    assert sorted(os.listdir(home.home)) == ["session_index.jsonl", "session_index.jsonl.lock"]


def test_removing_what_is_not_there_changes_nothing(home: Home) -> None:
    assert not name_index.remove(home, [A])
    assert os.listdir(home.home) == []
    put(home, entry(B, "b"))
    before = name_index.fingerprint(home)
    assert not name_index.remove(home, [A])
    assert name_index.fingerprint(home) == before


def test_an_index_that_cannot_be_used_is_explained(home: Home) -> None:
    os.mkdir(home.name_index)
    with pytest.raises(StoreUnavailable, match="cannot read"):
        name_index.load(home)
    with pytest.raises(StoreUnavailable, match="cannot read"):
        name_index.remove(home, [A])
    with pytest.raises(StoreUnavailable, match="cannot write") as caught:
        name_index.append(home, A, "a", NOW)
    assert caught.value.hint


APPEND = """
import datetime as dt, sys
from threadstore.stores.local import name_index
from threadstore.stores.local.paths import Home
home = Home(home=sys.argv[1], sqlite_home=sys.argv[1])
for number in range(60):
    id = f"01a201e7-0000-7000-8000-{int(sys.argv[2]):06}{number:06}"
    name_index.append(home, id, f"{sys.argv[2]} {number}", dt.datetime.now(dt.UTC))
"""
REMOVE = """
import datetime as dt, sys
from threadstore.stores.local import name_index
from threadstore.stores.local.paths import Home
home = Home(home=sys.argv[1], sqlite_home=sys.argv[1])
id = "01a201e7-0000-7000-8000-00000000000a"
for _ in range(40):
    name_index.append(home, id, "x", dt.datetime.now(dt.UTC))
    assert name_index.remove(home, [id])
"""
FULL = """
import datetime as dt, os, resource, sys
from threadstore.errors import StoreUnavailable
from threadstore.stores.local import name_index
from threadstore.stores.local.paths import Home
home = Home(home=sys.argv[1], sqlite_home=sys.argv[1])
size = os.path.getsize(home.name_index)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, size + 5))
try:
    name_index.append(home, sys.argv[2], "x", dt.datetime.now(dt.UTC))
except StoreUnavailable:
    print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5))
try:
    name_index.remove(home, [sys.argv[2]])
except StoreUnavailable:
    print("refused")
"""


def run(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE)


def test_processes_that_add_and_remove_at_once_lose_nothing(home: Home) -> None:
    children = [run(APPEND, home.home, "1"), run(APPEND, home.home, "2"), run(REMOVE, home.home)]
    for process in children:
        with process:
            assert process.wait(60) == 0
    index = name_index.load(home)
    assert sorted(index.names.values()) == sorted(f"{k} {n}" for k in (1, 2) for n in range(60))
    assert index.skipped == 0


def test_a_full_disk_leaves_the_index_as_it_was(home: Home) -> None:
    before = entry(A, "a") + entry(B, "b")
    put(home, before)
    with run(FULL, home.home, A) as process:
        out, _ = process.communicate(timeout=60)
    assert out.decode().split() == ["refused", "refused"]
    assert content(home) == before
    assert sorted(os.listdir(home.home)) == ["session_index.jsonl", "session_index.jsonl.lock"]
