"""Agents that are killed at any moment: what they were told is there once, and told truthfully.

``DEEP=1`` kills ten times as often, every time anew.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.engine.agent_process import Round
from tests.engine.helpers import USAGE, usage
from tests.engine.witness import Witness
from tests.faults.test_full_disk import UNSHARED, may_mount

from threadstore import LiveThread, NewThread, ThreadManager, open_store
from threadstore.engine import Session, SessionSettings
from threadstore.history.turns import build_turns
from threadstore.history.usage import last_usage, total_usage
from threadstore.metadata import HistoryMode, ThreadUsage
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing import items
from threadstore.testing.faults import FaultyStore
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer
from threadstore.testing.scripted_model import Call, Reply, Say, ScriptedModel

Json = dict[str, Any]

DEEP = 10 if os.environ.get("DEEP") else 1
PROGRAM = Path(__file__).with_name("agent_process.py")
LIVES = 9
"""Of one thread; then another begins."""


class Agents:
    """The program that plays rounds."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self._program = program

    def play(self, life: Round) -> Json:
        """One round."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(msgspec.json.encode(life).decode() + "\n")
        self._program.stdin.flush()
        answer: Json = msgspec.json.decode(self._program.stdout.readline())
        return answer


@contextmanager
def agents() -> Iterator[Agents]:
    """The program, which ends with its input."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(PROGRAM)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as program:
        yield Agents(program)
    assert program.returncode == 0


def _life(rng: random.Random, witness: Witness, number: int, *, rival: bool = False) -> Round:
    """A life that ends after some lines and a moment, at its very beginning, or by itself."""
    kind = rng.random()
    return Round(
        url=witness.url,
        thread=witness.thread,
        mode=witness.mode,
        number=number,
        lines=0 if kind < 0.15 else rng.randint(1, 90),
        micros=rng.randint(0, 60_000 if kind < 0.15 else 3_000),
        steps=2 if kind > 0.93 else None,
        rival=rival and witness.thread is not None,
    )


async def _kill_often(
    url: str,
    mode: HistoryMode,
    kills: int,
    *,
    seed: int = 1,
    rival: bool = False,
    crash: Callable[[], None] = lambda: None,
) -> int:
    """How many lines were told in all. *crash* follows each kill."""
    seed = random.randrange(1 << 30) if DEEP > 1 else seed
    rng = random.Random(seed)
    told = killed = number = 0
    with agents() as program:
        while killed < kills:
            witness = Witness(url, mode)
            for _ in range(LIVES):
                number += 1
                said = program.play(_life(rng, witness, number, rival=rival))
                crash()
                ended = any("ended" in line for line in said["agent"])
                killed += not ended
                witness.kills += not ended
                witness.kills += bool(said["rival"])
                try:
                    await witness.check([*said["agent"], *said["rival"]])
                except AssertionError as error:
                    error.add_note(f"seed {seed}, life {number}, thread {witness.thread}")
                    raise
            told += witness.told.total()
    return told


@pytest.mark.timeout(60 + 120 * DEEP)
@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_killed_agent_on_a_local_store(tmp_path: Path, mode: HistoryMode) -> None:
    assert await _kill_often(f"local:{tmp_path}", mode, 20 * DEEP, seed=1) > 200


@pytest.mark.timeout(60 + 120 * DEEP)
@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_killed_agent_on_postgresql(
    postgres_server: PostgresServer, mode: HistoryMode
) -> None:
    harness = PostgresHarness(postgres_server)
    url = harness.config.dsn
    assert await _kill_often(url, mode, 6 * DEEP, seed=2, crash=harness.crash) > 50
    harness.close()


@pytest.mark.timeout(60 + 120 * DEEP)
@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_killed_agent_while_others_rename_and_write(
    tmp_path: Path, mode: HistoryMode
) -> None:
    url = f"local:{tmp_path}"
    assert await _kill_often(url, mode, 8 * DEEP, seed=3, rival=True) > 50


# Responses that were counted and never told of


@pytest.mark.parametrize("written", [True, False], ids=["metadata written", "metadata lost"])
@pytest.mark.parametrize("then", ["turn", "revert"])
async def test_a_response_recorded_and_never_told_counts_once(written: bool, then: str) -> None:
    """The killed program had kept its record, and perhaps what that implies."""
    model = ScriptedModel([Reply(Say("fine"), usage=USAGE)])
    async with MemoryThreadStore() as inner:
        store = FaultyStore(inner)
        live = await LiveThread.create(store, NewThread(cwd="", history_mode="paginated"))
        turn = [items.turn_context(model="m-1"), *items.turn("t1", "hello")]
        await live.append_items([*turn, items.token_count(USAGE)])
        if not written:
            store.fail("update_thread_metadata")
        await live.append_items([items.token_usage_record(live.id, USAGE, total=usage(2))])
        if not written:
            store.heal("update_thread_metadata")
        await inner.discard_thread(live.id)
        async with (
            ThreadManager(store) as manager,
            await Session.resume(manager, live.id, model) as session,
        ):
            if then == "revert":
                await session.revert(turns=1)
            await (await session.start_turn("go on")).result()
        stored = await store.read_thread(live.id)
        history = await store.load_history(live.id)
    assert stored.model is not None
    assert stored.usage == ThreadUsage(own={stored.model: usage(3)})
    assert stored.token_usage == usage(3)
    told = [item.payload for item in history.items if item.kind == "token_count"]
    assert (total_usage(told[-1]), last_usage(told[-1])) == (usage(3), USAGE)


# Logs that lost their end


async def _finished(home: Path, mode: HistoryMode) -> str:
    """A thread with calls, an interruption and a compaction; the id."""
    answers = [Reply(Call("none", {}, f"c{n}"), Say(f"calls {n}")) for n in range(3)]
    summary, fine = Reply(Say("in short")), [Reply(Say(f"fine {n}")) for n in range(3)]
    model = ScriptedModel([*answers, fine[0], fine[1], summary, fine[2]])
    settings = SessionSettings(model="m-1")
    async with open_store(f"local:{home}") as store, ThreadManager(store) as manager:
        new = NewThread(cwd="", history_mode=mode)
        async with await Session.start(manager, new, model, settings=settings) as session:
            for text in ("one", "two"):
                await (await session.start_turn(text)).result()
            await (await session.compact()).result()
            await (await session.start_turn("three")).result()
            return session.id


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_log_that_lost_its_end_goes_on(tmp_path: Path, mode: HistoryMode) -> None:
    """As after a power cut: anything at the end may be gone, in the middle of a line as well."""
    thread_id = await _finished(tmp_path / "whole", mode)
    (whole,) = (tmp_path / "whole" / "sessions").rglob("*.jsonl")
    log = whole.read_bytes()
    header = log.index(b"\n") + 1
    rng = random.Random(mode)
    for number in range(8 * DEEP):
        home = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", home)
        cut = rng.randrange(header, len(log))
        (home / whole.relative_to(tmp_path / "whole")).write_bytes(log[:cut])
        await _goes_on(home, thread_id)


async def _goes_on(home: Path, thread_id: str) -> None:
    model = ScriptedModel([Reply(Say("fine"), usage=USAGE)])
    async with open_store(f"local:{home}") as store, ThreadManager(store) as manager:
        before = await store.load_history(thread_id)
        assert len(before.damage) <= 1
        turns = build_turns(before.items)
        ends = [item for item in before.items if item.kind == "task_complete"]
        assert [turn.status for turn in turns].count("completed") == len(ends)
        totals = [total_usage(item.payload) for item in before.items if item.kind == "token_count"]
        async with await Session.resume(manager, thread_id, model) as session:
            known = session.usage.own_total
            result = await (await session.start_turn("go on")).result()
            assert session.usage.own_total == known + USAGE
        assert result.status == "completed"
        after = build_turns((await store.load_history(thread_id)).items)
        assert [turn.status for turn in after] == [*(turn.status for turn in turns), "completed"]
        damage = (await store.load_history(thread_id)).damage
        assert [line.raw for line in damage] == [line.raw for line in before.damage]
    assert known.total_tokens >= max((total.total_tokens for total in totals if total), default=0)


# Disks that are full


@pytest.mark.parametrize("kind", ["tmpfs", "limit"])
@pytest.mark.parametrize("mode", ["legacy", "paginated"])
def test_a_full_disk_fails_the_turn_and_costs_no_other(
    tmp_path: Path, kind: str, mode: HistoryMode
) -> None:
    if kind == "tmpfs" and not may_mount(tmp_path):
        kind = "limit"
    home = tmp_path / "disk" / "home"
    program = [sys.executable, "-m", "tests.engine.full_disk_agent", str(home), kind, mode]
    done = subprocess.run(
        [*(UNSHARED if kind == "tmpfs" else []), *program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for moment, statuses in json.loads(done.stdout).items():
        assert statuses == ["completed", "failed", "completed"], moment
