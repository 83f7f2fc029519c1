"""Usage of the threads that real releases of Codex wrote: forks and reverts count nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from tests.golden_homes import LABELS, Golden, load

from threadstore.factory import open_store
from threadstore.history.facts import FactObserver, fold
from threadstore.metadata import ThreadMetadataPatch, TokenUsage
from threadstore.queries import ThreadQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from threadstore.history.items import RolloutItem
    from threadstore.metadata import StoredThread

    Threads = list[tuple[StoredThread, Sequence[RolloutItem]]]

RESUMED_FROM_ZERO: Final = (0, 100, 0)
"""Releases before it began a new total when they resumed a thread."""
EVERYTHING: Final = ThreadQuery(archived=None, limit=1000)


@pytest.fixture(params=LABELS)
def golden(request: pytest.FixtureRequest) -> Golden:
    return load(request.param)


@pytest.fixture
async def threads(golden: Golden, tmp_path: Path) -> AsyncIterator[Threads]:
    async with open_store(f"local:{golden.unpack(tmp_path)}") as store:
        page = await store.list_threads(EVERYTHING)
        yield [(thread, (await store.load_history(thread.id)).items) for thread in page.items]


async def test_a_scan_and_one_item_after_the_other_find_the_same_usage(threads: Threads) -> None:
    for thread, items in threads:
        observer, facts = FactObserver(thread.id), ThreadMetadataPatch()
        for item in items:
            facts = facts.merge(observer.observe(item) or ThreadMetadataPatch())
        assert facts.usage == fold(thread.id, items).usage
        assert (facts.usage or None) == thread.usage


async def test_the_parts_sum_up_to_the_total_that_the_release_wrote(
    golden: Golden, threads: Threads
) -> None:
    for thread, items in threads:
        total = thread.token_usage or TokenUsage()
        usage = thread.usage
        if usage is None:
            assert not total.input_tokens
            continue
        if thread.forked_from_id is None:
            assert usage.inherited == {}
            if golden.release < RESUMED_FROM_ZERO:
                assert usage.own_total.total_tokens >= total.total_tokens
            else:
                assert usage.own_total == total
        elif thread.token_usage is not None:
            assert usage.inherited
            assert usage.total == total
        contexts = [item.payload["model"] for item in items if item.type == "turn_context"]
        assert usage.own.keys() | usage.inherited.keys() <= {*contexts, "unknown"}


async def test_a_fork_owns_what_its_own_turn_used(golden: Golden, threads: Threads) -> None:
    usage = {thread.id: thread.usage for thread, _ in threads}
    examples = {name: usage[thread_id] for name, thread_id in golden.examples.items()}
    if "fork" not in examples:
        return  # before 0.100 nothing was forked
    source, untouched, fork = (examples[n] for n in ("fork_source", "fork_untouched", "fork"))
    assert source is not None
    assert untouched is not None
    assert fork is not None
    assert untouched.own == {}
    assert fork.inherited == untouched.inherited
    # Each response has 20 in these homes; source and fork went on with one each.
    assert fork.own_total.output_tokens == 20
    assert source.own_total.output_tokens == untouched.total.output_tokens + 20
