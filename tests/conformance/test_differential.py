"""One script has the same results on every store."""

from __future__ import annotations

from pathlib import Path

import pytest

from threadstore.testing import LocalHarness, MemoryHarness, StoreHarness, run_differential


@pytest.mark.parametrize("variant", ["plain", "without_sqlite", "lost_database"])
async def test_the_local_store_does_what_the_memory_store_does(
    tmp_path: Path, variant: str
) -> None:
    harnesses: dict[str, StoreHarness] = {
        "memory": MemoryHarness(),
        variant: LocalHarness(tmp_path, variant=variant),  # type: ignore[arg-type]
    }
    results = await run_differential(harnesses)
    assert len(results["memory"]) > 80


async def test_two_memory_stores_agree() -> None:
    results = await run_differential({"one": MemoryHarness(), "two": MemoryHarness()})
    assert results["one"] == results["two"]
