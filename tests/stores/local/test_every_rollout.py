"""Every rollout on disk is listed or reported with a reason, whatever was done to the home."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.stores.local.doctor import Doctor
from tests.stores.local.homes import header

from threadstore.ids import new_thread_id
from threadstore.stores.local.compression import zstd
from threadstore.stores.local.inspect_places import unaccounted
from threadstore.testing import items

Damage = Callable[[Doctor, str, random.Random], None]


def _copy(path: str, folder: str) -> None:
    Path(folder, os.path.basename(path)).write_bytes(Path(path).read_bytes())


def _empty(home: Doctor, path: str, rng: random.Random) -> None:
    Path(path).write_bytes(b"")


def _blank(home: Doctor, path: str, rng: random.Random) -> None:
    Path(path).write_bytes(b"\n \n")


def _garbage(home: Doctor, path: str, rng: random.Random) -> None:
    Path(path).write_bytes(rng.randbytes(300))


def _torn(home: Doctor, path: str, rng: random.Random) -> None:
    os.truncate(path, int(os.path.getsize(path) * rng.random()))


def _foreign(home: Doctor, path: str, rng: random.Random) -> None:
    Path(path).write_bytes(b"")
    home.append(path, header(new_thread_id()), *items.turn("t", "another"))


def _copied(home: Doctor, path: str, rng: random.Random) -> None:
    folder = f"{home.home.sessions}/copies/{rng.randrange(3)}"
    os.makedirs(folder, exist_ok=True)
    _copy(path, folder)


def _archived(home: Doctor, path: str, rng: random.Random) -> None:
    os.makedirs(home.home.archived, exist_ok=True)
    _copy(path, home.home.archived)


def _moved(home: Doctor, path: str, rng: random.Random) -> None:
    os.makedirs(home.home.archived, exist_ok=True)
    os.rename(path, f"{home.home.archived}/{os.path.basename(path)}")


def _renamed(home: Doctor, path: str, rng: random.Random) -> None:
    os.rename(path, f"{os.path.dirname(path)}/rollout-{rng.randrange(1000)}.jsonl")


def _compressed(home: Doctor, path: str, rng: random.Random) -> None:
    data = zstd.compress(Path(path).read_bytes())
    Path(f"{path}.zst").write_bytes(data[: rng.choice([len(data), len(data) // 2, 0])])
    if rng.random() < 0.5:
        os.unlink(path)


def _folder(home: Doctor, path: str, rng: random.Random) -> None:
    folder = f"{os.path.dirname(path)}/rollout-{rng.randrange(1000)}.jsonl"
    os.makedirs(folder, exist_ok=True)
    os.rename(path, f"{folder}/{os.path.basename(path)}")


def _linked(home: Doctor, path: str, rng: random.Random) -> None:
    aside = f"{home.folder}/aside-{os.path.basename(path)}"
    os.rename(path, aside)
    os.symlink(rng.choice([aside, "nowhere", str(home.folder), path]), path)


def _pipe(home: Doctor, path: str, rng: random.Random) -> None:
    os.unlink(path)
    os.mkfifo(path)


def _gone(home: Doctor, path: str, rng: random.Random) -> None:
    os.unlink(path)


def _long(home: Doctor, path: str, rng: random.Random) -> None:
    Path(path).write_bytes(b'{"type":"session_meta","payload":{"id":"' + b"x" * 2_000_000)


def _odd_name(home: Doctor, path: str, rng: random.Random) -> None:
    os.rename(os.fsencode(path), os.fsencode(path).replace(b"rollout-", b"rollout-\xff"))


def _named(home: Doctor, path: str, rng: random.Random) -> None:
    home.name(os.path.basename(path)[-42:-6], "named")


DAMAGES: list[Damage] = [
    _empty,
    _blank,
    _garbage,
    _torn,
    _foreign,
    _copied,
    _archived,
    _moved,
    _renamed,
    _compressed,
    _folder,
    _linked,
    _pipe,
    _gone,
    _long,
    _odd_name,
    _named,
]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Doctor]:
    doctor = Doctor(tmp_path)
    yield doctor
    doctor.close()


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_every_rollout_is_listed_or_has_a_reason(home: Doctor, seed: int, *, large: bool) -> None:
    rng = random.Random(seed)
    home.exact = 0 if large else home.exact
    home.sync = home.new_sync()
    for _ in range(3):
        for number in range(12):
            thread_id = home.thread(f"number {number}")
            if number % 3 == 0:
                home.add_row(thread_id)
        home.listed()
        paths = [path for path in home.index.files() if os.path.isfile(path)]
        for path in rng.sample(paths, 12):
            rng.choice(DAMAGES)(home, path, rng)
        home.clock.advance(2)
        listed = home.listed()
        if large:
            home.sync.heal()
            listed = home.listed()
        findings = home.inspect()
        assert "unaccounted_file" not in {finding.code for finding in findings}
        assert unaccounted(home.home, listed.keys(), home.index.files(), findings) == []
        assert all(finding.reason for finding in findings)
        assert listed.keys() == home.beside()


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_kind_of_damage_is_accounted_for(home: Doctor, damage: Damage) -> None:
    whole = home.thread("whole")
    hurt = home.thread("hurt")
    home.listed()
    damage(home, home.path(hurt), random.Random(1))
    home.clock.advance(2)
    listed = home.listed()
    assert whole in listed
    findings = home.inspect()
    assert "unaccounted_file" not in {finding.code for finding in findings}
    assert unaccounted(home.home, listed.keys(), home.index.files(), findings) == []


def test_what_nobody_lists_or_explains_is_found(home: Doctor) -> None:
    thread_id = home.thread()
    path = home.path(thread_id)
    assert unaccounted(home.home, home.listed().keys(), home.index.files(), []) == []
    assert unaccounted(home.home, (), home.index.files(), []) == [path]
    assert unaccounted(home.home, (thread_id,), {}, []) == [path]


def test_a_thread_whose_file_is_missing_is_reported(home: Doctor) -> None:
    thread_id = home.thread("gone for a while")
    home.name(thread_id, "named")
    home.listed()
    os.unlink(home.path(thread_id))
    home.listed()
    (finding,) = (found for found in home.inspect() if found.code == "missing_file")
    assert (finding.thread_id, finding.subject) == (thread_id, home.path(thread_id))
    assert "'named'" in finding.reason
