"""Another program holds Codex's database: history goes on, metadata waits for its turn."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.stores.local.conftest import Locked

from threadstore import LiveThread, NewThread, open_store
from threadstore.testing import items


async def test_a_locked_database_defers_metadata_and_stops_nobody(
    tmp_path: Path, locked: Locked
) -> None:
    home = tmp_path / "home"
    async with open_store(f"local:{home}") as store:
        live = await LiveThread.create(store, NewThread(cwd=""))
        await live.append_items([items.user_message("before")])
        ticks = 0

        async def others() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        working = asyncio.create_task(others())
        with locked(f"{home}/state_5.sqlite"):
            receipt = await live.append_items([items.turn_context(model="gpt-later")])
        working.cancel()
        assert receipt.metadata == "deferred"
        assert ticks > 10

        receipt = await live.append_items([items.agent_message("after")])
        assert receipt.metadata == "written"
        assert (await live.read()).model == "gpt-later"
        await live.shutdown()
        assert len((await store.load_history(live.id)).items) == 4
