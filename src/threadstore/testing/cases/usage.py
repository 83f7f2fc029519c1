"""Usage in a thread's metadata: each response once, own and inherited apart, on every store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from threadstore.history.items import RolloutItem
from threadstore.history.usage import UsageLedger
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.metadata import (
    HistoryMode,
    NewThread,
    ThreadMetadataPatch,
    ThreadUsage,
    TokenUsage,
)
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import OBSERVED, Cases
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import StoreHarness
from threadstore.testing.seeds import spawned_by

__all__ = ["UsageTests"]

_both_modes: Final = pytest.mark.parametrize("mode", ["legacy", "paginated"])
_WINDOW: Final = 258_400
_FIRST: Final = "gpt-5.1"
_SECOND: Final = "gpt-9"


def _tokens(given: int, made: int) -> TokenUsage:
    return TokenUsage(
        input_tokens=given,
        cached_input_tokens=given // 2,
        output_tokens=made,
        reasoning_output_tokens=made // 2,
        total_tokens=given + made,
    )


ONE: Final = _tokens(100, 10)
TWO: Final = _tokens(230, 24)
THREE: Final = _tokens(50, 6)


def _turn(
    turn_id: str, usage: TokenUsage, before: TokenUsage | None = None, *, model: str = _FIRST
) -> list[RolloutItem]:
    """A turn of one response, after *before* was used."""
    total = usage if before is None else before + usage
    *most, end = items.turn(turn_id, "hello", model=model)
    return [*most, items.token_count(total, last=usage), end]


class UsageTests(Cases):
    """``StoredThread.usage``, as live threads write it and stores keep or find it again."""

    @_both_modes
    async def test_usage_is_counted_by_model_and_goes_on_after_a_resume(
        self, store: ThreadStore, clock: ManualClock, mode: HistoryMode
    ) -> None:
        live = await _create(store, clock, mode)
        assert (await live.read()).usage is None
        await live.append_items([*_turn("t1", ONE), *_turn("t2", TWO, ONE, model=_SECOND)])
        await live.shutdown()
        live = await _resume(store, clock, live.id)
        await live.append_items(_turn("t3", THREE, ONE + TWO))
        await live.shutdown()

        thread = await store.read_thread(live.id)
        assert thread.usage == ThreadUsage(own={_FIRST: ONE + THREE, _SECOND: TWO})
        assert thread.usage.own_total == thread.usage.total == thread.token_usage

    @_both_modes
    async def test_a_fork_inherits_what_its_source_used(
        self, store: ThreadStore, clock: ManualClock, mode: HistoryMode
    ) -> None:
        async with ThreadManager(store, clock=clock) as manager:
            source = await manager.create(NewThread(cwd="/repo", history_mode=mode))
            await source.append_items([*_turn("t1", ONE), *_turn("t2", TWO, ONE, model=_SECOND)])
            clock.advance()
            fork = await manager.fork(source.id)
            inherited = {_FIRST: ONE, _SECOND: TWO}
            assert (await fork.read()).usage == ThreadUsage(inherited=inherited)

            clock.advance()
            await fork.append_items(_turn("t3", THREE, ONE + TWO))
            await manager.unload(fork.id)
            again = await manager.resume(fork.id)
            await again.append_items(_turn("t4", ONE, ONE + TWO + THREE))
            clock.advance()
            second = await manager.fork(fork.id)

            own = ThreadUsage(own={_FIRST: THREE + ONE}, inherited=inherited)
            assert (await again.read()).usage == own
            assert (await second.read()).usage == own.as_inherited()
            assert (await source.read()).usage == ThreadUsage(own=inherited)

    @_both_modes
    async def test_a_fork_inherits_no_more_than_it_takes_over(
        self, store: ThreadStore, clock: ManualClock, mode: HistoryMode
    ) -> None:
        async with ThreadManager(store, clock=clock) as manager:
            source = await manager.create(NewThread(cwd="/repo", history_mode=mode))
            await source.append_items([*_turn("t1", ONE), *_turn("t2", TWO, ONE)])
            clock.advance()
            fork = await manager.fork(source.id, before_turn="t2")
            clock.advance()
            await fork.append_items(_turn("t3", THREE, ONE))
            expected = ThreadUsage(own={_FIRST: THREE}, inherited={_FIRST: ONE})
            assert (await fork.read()).usage == expected

    @_both_modes
    async def test_nothing_that_a_child_inherits_counts_as_its_own(
        self, store: ThreadStore, clock: ManualClock, mode: HistoryMode
    ) -> None:
        async with ThreadManager(store, clock=clock) as manager:
            parent = await manager.create(NewThread(cwd="/repo", history_mode=mode))
            await parent.append_items(_turn("t1", ONE))
            history = [
                item for item in (await parent.load_history()).items if item.type != "session_meta"
            ]
            clock.advance()
            new = NewThread(cwd="/repo", history_mode=mode, source=spawned_by(parent.id))
            child = await manager.create(new, inherited=history)
            clock.advance()
            await child.append_items(_turn("t2", TWO, ONE))
            expected = ThreadUsage(own={_FIRST: TWO}, inherited={_FIRST: ONE})
            assert (await child.read()).usage == expected
            assert (await parent.read()).usage == ThreadUsage(own={_FIRST: ONE})

    @_both_modes
    @pytest.mark.parametrize(
        ("lines", "own"),
        [
            ([items.token_count(ONE), items.token_count(None)], ONE),
            ([items.compacted("summary"), items.token_count(ONE, last=THREE)], ONE),
            ([items.thread_rolled_back(1), items.token_count(ONE)], ONE),
            (
                [items.thread_rolled_back(1), *_turn("t2", TWO, ONE)],
                ONE + TWO,
            ),
            (
                [
                    items.token_count(TokenUsage(total_tokens=_WINDOW)),
                    items.token_count(TWO + TokenUsage(total_tokens=_WINDOW), last=TWO),
                ],
                ONE + TWO,
            ),
            (
                [
                    items.thread_rolled_back(1),
                    *(line for line in _turn("t1", ONE) if line.kind != "token_count"),
                    items.token_count(ONE + TWO, last=TWO),
                ],
                ONE + TWO,
            ),
        ],
        ids=["repeated", "compaction", "revert", "turn after a revert", "overflow", "redo"],
    )
    async def test_a_response_counts_once_whatever_is_written_after_it(
        self,
        store: ThreadStore,
        clock: ManualClock,
        mode: HistoryMode,
        lines: Sequence[RolloutItem],
        own: TokenUsage,
    ) -> None:
        live = await _create(store, clock, mode)
        await live.append_items(_turn("t1", ONE))
        for line in lines:
            await live.append_items([line])
        await live.shutdown()
        assert (await store.read_thread(live.id)).usage == ThreadUsage(own={_FIRST: own})

    @_both_modes
    async def test_a_usage_record_and_the_count_after_it_are_one_response(
        self, store: ThreadStore, clock: ManualClock, mode: HistoryMode
    ) -> None:
        live = await _create(store, clock, mode)
        await live.append_items(_turn("t1", ONE))
        total = ONE + TWO
        record = items.token_usage_record(live.id, TWO, total=total)
        await live.append_items([items.turn_context(model=_SECOND), record])
        expected = ThreadUsage(own={_FIRST: ONE, _SECOND: TWO})
        assert (await live.read()).usage == expected
        await live.append_items([items.token_count(total, last=TWO)])
        assert (await live.read()).usage == expected
        assert (await live.read()).token_usage == total
        await live.shutdown()

    @_both_modes
    async def test_a_response_that_was_booked_before_its_line_counts_once(
        self, store: ThreadStore, clock: ManualClock, mode: HistoryMode
    ) -> None:
        live = await _create(store, clock, mode)
        await live.append_items(_turn("t1", ONE))
        await _book(live, TWO)
        await live.append_items([items.token_count(ONE + TWO, last=TWO)])
        await live.append_items(_turn("t2", THREE, ONE + TWO))
        await live.shutdown()
        thread = await store.read_thread(live.id)
        assert thread.usage == ThreadUsage(own={_FIRST: ONE + TWO + THREE})
        assert thread.token_usage == ONE + TWO + THREE

    @_both_modes
    async def test_a_response_whose_line_was_never_written_is_not_lost_on_the_next(
        self, store: ThreadStore, clock: ManualClock, mode: HistoryMode
    ) -> None:
        live = await _create(store, clock, mode)
        await live.append_items(_turn("t1", ONE))
        await _book(live, TWO)
        await live.discard()
        live = await _resume(store, clock, live.id)
        await live.append_items(_turn("t2", THREE, ONE + TWO))
        await live.shutdown()
        thread = await store.read_thread(live.id)
        assert thread.usage == ThreadUsage(own={_FIRST: ONE + TWO + THREE})

    @_both_modes
    async def test_a_response_that_was_booked_outlives_a_crash(
        self, durable_harness: StoreHarness, clock: ManualClock, mode: HistoryMode
    ) -> None:
        harness = durable_harness
        async with harness.open() as store:
            live = await _create(store, clock, mode)
            await live.append_items(_turn("t1", ONE))
            await _book(live, TWO)
            harness.crash()
        async with harness.open() as store:
            thread = await store.read_thread(live.id)
            if "usage" not in harness.volatile_facts(mode):
                assert thread.usage == ThreadUsage(own={_FIRST: ONE + TWO})
                assert thread.token_usage == ONE + TWO
            live = await _resume(store, clock, live.id)
            await live.append_items(_turn("t2", THREE, ONE + TWO))
            await live.shutdown()
            thread = await store.read_thread(live.id)
            assert thread.usage == ThreadUsage(own={_FIRST: ONE + TWO + THREE})
            assert thread.token_usage == ONE + TWO + THREE


async def _create(store: ThreadStore, clock: ManualClock, mode: HistoryMode) -> LiveThread:
    return await LiveThread.create(store, NewThread(cwd="/repo", history_mode=mode), clock=clock)


async def _resume(store: ThreadStore, clock: ManualClock, thread_id: str) -> LiveThread:
    clock.advance()
    return await LiveThread.resume(store, thread_id, clock=clock)


async def _book(live: LiveThread, usage: TokenUsage) -> None:
    """What whoever drives a model does the moment a response is complete."""
    stored = await live.read()
    ledger = UsageLedger(stored.usage, stored.token_usage)
    ledger.book(usage, stored.model)
    assert ledger.usage is not None
    assert ledger.total is not None
    patch = ThreadMetadataPatch(usage=ledger.usage, token_usage=ledger.total)
    await live.update_metadata(patch, OBSERVED)
