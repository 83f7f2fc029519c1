"""An agent whose disk is full in the middle of a turn. Run as a program by ``test_kills.py``:
``full_disk_agent.py HOME KIND MODE``; for KIND see ``tests/faults/full_disk.py``.

Prints how the turns ended, as JSON: before, with, and after the full disk, for each moment at
which it was full.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
from tests.engine.agent_process import SETTINGS, Served
from tests.engine.witness import Witness
from tests.faults.full_disk import Disk

from threadstore import NewThread, ThreadManager, open_store
from threadstore.engine import Model, Session, tool
from threadstore.history.policy import persists
from threadstore.metadata import HistoryMode
from threadstore.testing.scripted_model import Call, Reply, Say

Json = dict[str, Any]

LONG = "long " * 1_000
"""More than the last block of a file has room for."""
MOMENTS = ("before the turn", "in the answer", "in a tool")


async def one_moment(url: str, disk: Disk, mode: HistoryMode, moment: str) -> list[str]:
    """The statuses of three turns; the disk is full in the second."""
    said: list[Json] = []

    def tell(**facts: Any) -> None:
        said.append(msgspec.to_builtins(facts))

    def fill(at: str) -> None:
        if at == moment and len(statuses) == 1:
            disk.fill()

    @tool
    def flood() -> str:
        """Fill the disk, and say much about it."""
        fill("in a tool")
        return LONG

    class Filling(Served):
        """Its answers are long, and the disk may be full before they are kept."""

        def answer(self, request: Any, usage: Any) -> Reply:
            fill("in the answer")
            called = request.input[-1].get("type") == "function_call_output"
            calls = [] if called else [Call("flood", {}, f"c{self.served}")]
            return Reply(Say(LONG + str(self.served)), *calls, usage=usage)

    statuses: list[str] = []
    model: Model = Filling(MOMENTS.index(moment) + 1, tell)
    new = NewThread(cwd="", history_mode=mode)
    settings = msgspec.structs.replace(SETTINGS, compact_at=0)
    async with open_store(url) as store, ThreadManager(store) as manager:
        async with await Session.start(
            manager, new, model, settings=settings, tools=[flood]
        ) as session:
            events = session.follow()
            tell(thread=session.id)
            for _ in range(3):
                fill("before the turn")
                result = await (await session.start_turn(f"life {len(statuses)} {LONG}")).result()
                statuses.append(result.status)
                if len(statuses) == 2:
                    disk.make_room()
        async for event in events:
            if persists(event.as_item(), mode):
                tell(event=event.payload())
    witness = Witness(url, mode)
    await witness.check(said)
    return statuses


async def main(home: Path, kind: str, mode: HistoryMode) -> dict[str, list[str]]:
    """Fill the disk at each moment."""
    disk = Disk(home, kind)
    return {moment: await one_moment(f"local:{home}", disk, mode, moment) for moment in MOMENTS}


if __name__ == "__main__":
    home, kind, mode = sys.argv[1:]
    answer = asyncio.run(main(Path(home), kind, msgspec.convert(mode, HistoryMode)))
    sys.stdout.write(json.dumps(answer))
