"""Codex's database stays locked for longer than we wait."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import pytest
from tests.stores.local.conftest import Locked

from threadstore import (
    GitInfoPatch,
    LiveThread,
    MetadataOrigin,
    NewThread,
    StoreUnavailable,
    ThreadMetadataPatch,
    ThreadQuery,
)
from threadstore.config import LocalStoreConfig
from threadstore.stores.local.store import LocalThreadStore
from threadstore.testing import items

PATCHES = {
    "name": ThreadMetadataPatch(name="after"),
    "git": ThreadMetadataPatch(git=GitInfoPatch(branch="after")),
    "both": ThreadMetadataPatch(name="after", memory_mode="disabled"),
}


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_what_users_say_is_refused_whole_and_everything_else_goes_on(
    tmp_path: Path, locked: Locked, mode: Literal["legacy", "paginated"], journal: str
) -> None:
    home = tmp_path / "home"
    config = LocalStoreConfig(home=str(home), busy_timeout=0.05)
    async with LocalThreadStore(config) as store:
        live = await LiveThread.create(store, NewThread(cwd="", history_mode=mode))
        await live.append_items([items.user_message("hello")])
        await live.update_metadata(ThreadMetadataPatch(name="before"))
        await live.shutdown()
    with (
        contextlib.nullcontext()
        if journal == "wal"
        else locked(f"{home}/state_5.sqlite", "PRAGMA journal_mode = DELETE")
    ):
        pass
    async with LocalThreadStore(config) as store:
        thread = await store.read_thread(live.id)
        kept = [*home.glob("sessions/**/*.jsonl"), home / "session_index.jsonl"]
        before = {path: path.read_bytes() for path in kept}
        with locked(f"{home}/state_5.sqlite", "BEGIN IMMEDIATE"):
            for patch in PATCHES.values():
                with pytest.raises(StoreUnavailable, match="locked") as caught:
                    await store.update_thread_metadata(
                        live.id, patch, origin=MetadataOrigin.EXPLICIT
                    )
                assert "process " in (caught.value.hint or "")
            with pytest.raises(StoreUnavailable, match="locked"):
                await store.archive_thread(live.id)
            assert {path: path.read_bytes() for path in kept} == before
            assert await store.read_thread(live.id) == thread
            (found,) = (await store.list_threads(ThreadQuery(search_term="BEFORE"))).items
            assert found == thread
            resumed = await LiveThread.resume(store, live.id)
            receipt = await resumed.append_items([items.turn_context(model="gpt-later")])
            assert receipt.metadata == "deferred"
        await resumed.update_metadata(PATCHES["both"])
        after = await resumed.read()
        await resumed.shutdown()
        assert (after.name, after.memory_mode, after.model) == ("after", "disabled", "gpt-later")
    async with LocalThreadStore(config) as store:
        assert (await store.read_thread(live.id)).model == "gpt-later"
