"""The state machine between observed items and metadata writes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from threadstore.clock import UTC
from threadstore.history.facts import fold
from threadstore.history.items import RolloutItem
from threadstore.live._metadata_sync import TOUCH_INTERVAL, ThreadMetadataSync
from threadstore.metadata import (
    GitInfo,
    GitInfoPatch,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
    ThreadUsage,
    TokenUsage,
    thread_of,
)
from threadstore.testing import ManualClock
from threadstore.testing.items import (
    agent_message,
    event,
    goal,
    item_completed,
    session_meta,
    task_started,
    token_count,
    turn,
    turn_context,
    unknown_item,
    user_item_completed,
    user_message,
)

THREAD = "01a201e5-a996-7a61-8db2-c256091e8939"
PARENT = "01a201e5-a996-7a61-8db2-c256091e8930"
CREATED = dt.datetime(2026, 3, 1, tzinfo=UTC)
USAGE = TokenUsage(input_tokens=5, output_tokens=2, total_tokens=7)


def used(model: str) -> ThreadUsage:
    return ThreadUsage(own={model: USAGE})


def stored_thread(**fields: Any) -> StoredThread:
    facts: dict[str, Any] = {
        "id": THREAD,
        "created_at": CREATED,
        "updated_at": CREATED,
        "recency_at": CREATED,
        "cwd": "/repo",
        "model_provider": "openai",
        **fields,
    }
    return StoredThread(**facts)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sync(clock: ManualClock) -> ThreadMetadataSync:
    """Of a thread whose initial patch has been applied."""
    sync = ThreadMetadataSync.for_create(stored_thread(), clock)
    sync.history_exists()
    sync.mark_applied()
    return sync


def observe(sync: ThreadMetadataSync, *items: RolloutItem) -> dict[str, Any]:
    """What is written at once, without the time of the touch."""
    patch = sync.observe(items)
    assert patch is not None
    sync.mark_applied()
    return {field: value for field, value in patch.present().items() if field != "updated_at"}


def test_a_new_thread_waits_with_everything_known_until_history_exists(clock: ManualClock) -> None:
    new = NewThread(
        cwd="/repo",
        originator="atlas",
        source={"subagent": {"thread_spawn": {"parent_thread_id": PARENT, "depth": 1}}},
        agent_role="reviewer",
        git=GitInfo(sha="1234567", branch="main"),
        memory_mode="disabled",
    )
    stored = thread_of(
        new, thread_id=THREAD, created_at=CREATED, cli_version="1.0", model_provider="mock"
    )
    sync = ThreadMetadataSync.for_create(stored, clock)

    assert sync.take() is None
    patch = sync.take(idle=True)

    assert patch == ThreadMetadataPatch(
        created_at=CREATED,
        updated_at=CREATED,
        cwd="/repo",
        model_provider="mock",
        cli_version="1.0",
        source=new.source,
        thread_source=None,
        agent_nickname=None,
        agent_role="reviewer",
        agent_path=None,
        originator="atlas",
        memory_mode="disabled",
        git=GitInfoPatch(sha="1234567", branch="main", origin_url=None),
    )


def test_history_that_exists_releases_the_initial_patch(clock: ManualClock) -> None:
    sync = ThreadMetadataSync.for_create(stored_thread(), clock)

    sync.history_exists()

    assert sync.take() is not None


def test_a_pending_patch_stays_until_it_is_applied(clock: ManualClock) -> None:
    sync = ThreadMetadataSync.for_create(stored_thread(), clock)
    sync.history_exists()

    assert sync.take() == sync.take()
    sync.mark_applied()

    assert sync.take() is None


def test_the_first_append_sends_initial_facts_and_its_own_as_one_patch(clock: ManualClock) -> None:
    sync = ThreadMetadataSync.for_create(stored_thread(), clock)

    patch = sync.observe([user_message("hello")])

    assert patch is not None
    assert patch.created_at == CREATED
    assert patch.preview == "hello"
    assert patch.updated_at == clock.now()


def settings(**changes: Any) -> dict[str, Any]:
    """What the turn context of the builders implies."""
    return {
        "model": "gpt-5.1",
        "reasoning_effort": "high",
        "approval_mode": "never",
        "sandbox_policy": {"type": "danger-full-access"},
        **changes,
    }


@pytest.mark.parametrize(
    ("items", "facts"),
    [
        ([turn_context(model="m", effort="low")], settings(model="m", reasoning_effort="low")),
        ([turn_context(effort=None)], settings(reasoning_effort=None)),
        (
            [turn_context(model="a"), turn_context(model="b", approval_policy="on-request")],
            settings(model="b", approval_mode="on-request"),
        ),
        ([turn_context(cwd="/other")], settings()),
        (
            [user_message("one"), user_message("two")],
            {"preview": "one", "title": "one", "first_user_message": "one"},
        ),
        (
            [user_message("", images=["data:x"])],
            {"preview": "[Image]", "first_user_message": "[Image]"},
        ),
        (
            [user_item_completed(THREAD, "t", "typed")],
            {"preview": "typed", "title": "typed", "first_user_message": "typed"},
        ),
        ([goal(THREAD, "  win  ")], {"preview": "win"}),
        (
            [goal(THREAD, "win"), user_message("hi")],
            {"preview": "win", "title": "hi", "first_user_message": "hi"},
        ),
        ([token_count(USAGE)], {"token_usage": USAGE, "usage": used("unknown")}),
        ([token_count(None)], {}),
        ([agent_message("hi")], {}),
        ([unknown_item()], {}),
        ([session_meta(PARENT, created_at=CREATED, cwd="/theirs")], {}),
        (
            [
                event(
                    "thread_settings_applied",
                    thread_settings={
                        "model": "n",
                        "model_provider_id": "mock",
                        "reasoning_effort": "high",
                        "cwd": "/moved",
                        "approval_policy": "never",
                    },
                )
            ],
            {
                "model": "n",
                "model_provider": "mock",
                "reasoning_effort": "high",
                "cwd": "/moved",
                "approval_mode": "never",
            },
        ),
    ],
)
def test_items_set_the_fields_of_the_decision_table(
    sync: ThreadMetadataSync, items: list[RolloutItem], facts: dict[str, Any]
) -> None:
    assert observe(sync, *items) == facts


def test_a_delegated_task_becomes_the_preview_once(sync: ThreadMetadataSync) -> None:
    def delegation(text: str) -> RolloutItem:
        item = {
            "type": "FunctionCallOutput",
            "namespace": "codex_app",
            "name": "create_thread",
            "output": f"<codex_delegation>{text}</codex_delegation>",
        }
        return item_completed(THREAD, "t", item)

    assert observe(sync, delegation("fix a &lt; b")) == {"preview": "fix a < b"}
    assert observe(sync, delegation("more")) == {}


def test_an_own_header_sets_what_it_says_every_time(sync: ThreadMetadataSync) -> None:
    later = CREATED + dt.timedelta(days=1)
    header = session_meta(
        THREAD,
        created_at=later,
        cwd="/new",
        model_provider="mock",
        memory_mode="disabled",
        git={"branch": "b"},
    )

    written = observe(sync, header)

    assert written["created_at"] == later
    assert written["cwd"] == "/new"
    assert written["model_provider"] == "mock"
    assert written["memory_mode"] == "disabled"
    assert written["git"].branch == "b"


def test_an_unreadable_time_does_not_unset_an_earlier_one(sync: ThreadMetadataSync) -> None:
    good = session_meta(THREAD, created_at=CREATED)
    bad = RolloutItem("session_meta", {**good.payload, "timestamp": "yesterday"})

    assert observe(sync, good, bad)["created_at"] == CREATED


def test_later_user_messages_only_touch(sync: ThreadMetadataSync, clock: ManualClock) -> None:
    observe(sync, user_message("first"))

    patch = sync.observe([user_message("second")])

    assert patch == ThreadMetadataPatch(updated_at=clock.now())


def test_a_derived_title_never_becomes_a_name(sync: ThreadMetadataSync) -> None:
    assert "name" not in observe(sync, *turn("t", "hello"))


def test_touches_within_the_interval_wait_for_a_barrier(
    sync: ThreadMetadataSync, clock: ManualClock
) -> None:
    assert sync.observe([agent_message("1")]) == ThreadMetadataPatch(updated_at=clock.now())
    sync.mark_applied()

    clock.advance(TOUCH_INTERVAL - 1)
    assert sync.observe([agent_message("2")]) is None
    assert sync.take() == ThreadMetadataPatch(updated_at=clock.now())

    clock.advance(1)
    assert sync.observe([agent_message("3")]) == ThreadMetadataPatch(updated_at=clock.now())


def test_a_fact_is_never_held_back_by_the_interval(sync: ThreadMetadataSync) -> None:
    observe(sync, agent_message("1"))

    assert observe(sync, token_count(USAGE)) == {"token_usage": USAGE, "usage": used("unknown")}


def test_a_token_count_without_info_is_written_at_once(
    sync: ThreadMetadataSync, clock: ManualClock
) -> None:
    observe(sync, agent_message("1"))

    assert sync.observe([token_count(None)]) == ThreadMetadataPatch(updated_at=clock.now())


def test_a_turn_start_advances_recency_to_now(sync: ThreadMetadataSync, clock: ManualClock) -> None:
    observe(sync, agent_message("1"))
    clock.advance()

    patch = sync.observe([task_started(at=CREATED)])

    assert patch == ThreadMetadataPatch(updated_at=clock.now(), advance_recency_at=clock.now())


def test_facts_that_could_not_be_written_go_out_with_the_next_append(
    sync: ThreadMetadataSync, clock: ManualClock
) -> None:
    assert sync.observe([user_message("hello")]) is not None

    patch = sync.observe([agent_message("x")])

    assert patch is not None
    assert patch.preview == "hello"


def test_an_explicit_edit_counts_as_known(sync: ThreadMetadataSync) -> None:
    sync.note_explicit(ThreadMetadataPatch(preview="chosen", title="chosen"))

    assert observe(sync, user_message("typed")) == {"first_user_message": "typed"}


# Resume

COMPLETE: dict[str, Any] = {
    "preview": "p",
    "title": "t",
    "first_user_message": "f",
    "model": "newer",
}


def resume(clock: ManualClock, *history: RolloutItem, **stored: Any) -> ThreadMetadataSync:
    thread = stored_thread(**stored)
    sync = ThreadMetadataSync.for_resume(thread, clock)
    if sync.lacks_facts:
        sync.recover(fold(thread.id, history))
    return sync


def test_complete_metadata_needs_no_look_at_history(clock: ManualClock) -> None:
    sync = resume(clock, **COMPLETE)

    assert not sync.lacks_facts
    assert sync.take(idle=True) is None


def test_stored_display_facts_are_not_derived_again(clock: ManualClock) -> None:
    sync = resume(clock, **COMPLETE)

    assert observe(sync, user_message("later")) == {}


def test_gaps_are_filled_from_history_and_nothing_else_is_sent(clock: ManualClock) -> None:
    history = [
        session_meta(THREAD, created_at=CREATED, git={"branch": "old"}, memory_mode="disabled"),
        *turn("t", "hello", usage=USAGE, model="old"),
    ]
    sync = resume(clock, *history, preview="kept", first_user_message="kept", model="newer")

    patch = sync.take(idle=True)

    assert patch is not None
    assert patch.present() == {
        "title": "hello",
        "token_usage": USAGE,
        "usage": used("old"),
        "originator": "testing",
    }


def test_facts_of_a_write_that_never_happened_are_recovered(clock: ManualClock) -> None:
    sync = resume(clock, *turn("t", "hello", model="m", effort="low"))

    patch = sync.take(idle=True)

    assert patch is not None
    assert (patch.preview, patch.title, patch.model) == ("hello", "hello", "m")
    assert patch.reasoning_effort == "low"
    assert "updated_at" not in patch.present()


def test_recovered_facts_wait_for_the_next_append(clock: ManualClock) -> None:
    sync = resume(clock, *turn("t", "hello"))

    assert sync.take() is None
    patch = sync.observe([agent_message("x")])

    assert patch is not None
    assert patch.preview == "hello"
    assert patch.updated_at == clock.now()


def test_a_later_turn_start_in_history_moves_recency_forward_only(clock: ManualClock) -> None:
    later = CREATED + dt.timedelta(days=1)
    history = [RolloutItem("event_msg", {"type": "task_started"}, timestamp="2026-03-02T00:00:00Z")]

    behind = resume(clock, *history).take(idle=True)
    ahead = resume(clock, *history, recency_at=later).take(idle=True)

    assert behind == ThreadMetadataPatch(advance_recency_at=later)
    assert ahead is None


def test_a_child_recovers_nothing_from_what_it_inherited(clock: ManualClock) -> None:
    sync = resume(clock, *turn("t", "the parent's"), parent_thread_id=PARENT)

    assert sync.take(idle=True) is None


def test_a_partial_header_after_a_resume_clears_no_agent_facts(clock: ManualClock) -> None:
    sync = resume(clock, **COMPLETE, agent_role="reviewer", source="exec")

    written = observe(sync, RolloutItem("session_meta", {"id": THREAD, "memory_mode": "disabled"}))

    assert written == {"memory_mode": "disabled"}


# Usage


TWICE = USAGE + USAGE


def test_a_response_that_was_booked_adds_nothing_when_its_line_comes(
    sync: ThreadMetadataSync,
) -> None:
    booked = ThreadMetadataPatch(usage=used("m"), token_usage=USAGE)
    sync.note_explicit(booked)
    assert observe(sync, token_count(USAGE)) == {"token_usage": USAGE}
    later = observe(sync, token_count(TWICE, last=USAGE))
    assert later["usage"] == ThreadUsage(own={"m": USAGE, "unknown": USAGE})


def test_a_resumed_thread_counts_on_for_the_model_it_has(clock: ManualClock) -> None:
    stored = stored_thread(model="m", usage=used("m"), token_usage=USAGE)
    sync = ThreadMetadataSync.for_resume(stored, clock)
    assert observe(sync, token_count(USAGE)) == {"token_usage": USAGE}
    assert observe(sync, token_count(TWICE, last=USAGE)) == {
        "token_usage": TWICE,
        "usage": ThreadUsage(own={"m": TWICE}),
    }


def test_metadata_from_before_usage_was_counted_has_a_gap(clock: ManualClock) -> None:
    known = {"preview": "p", "title": "t", "first_user_message": "m", "model": "m"}
    stored = stored_thread(token_usage=USAGE, **known)
    sync = ThreadMetadataSync.for_resume(stored, clock)
    assert sync.lacks_facts
    sync.recover(fold(THREAD, [token_count(USAGE)]))
    assert observe(sync, token_count(TWICE, last=USAGE))["usage"].own_total == TWICE
    counted = stored_thread(token_usage=USAGE, usage=used("m"), **known)
    assert not ThreadMetadataSync.for_resume(counted, clock).lacks_facts


def test_what_a_fork_copies_is_inherited_whatever_it_says(clock: ManualClock) -> None:
    """Even where its header is lost and its turns seem younger than the fork."""
    history = [*turn("t1", "x", usage=USAGE), token_count(TWICE, last=USAGE)]
    observed = fold(PARENT, history)
    sync = ThreadMetadataSync.for_create(stored_thread(forked_from_id=PARENT), clock)
    sync.recover(observed, own=False, copied=True)
    young = turn_context(turn_id="fff00000-0000-7000-8000-000000000000")
    inherited = observe(sync, young, *history)["usage"]
    assert (inherited.own, inherited.inherited_total) == ({}, TWICE)
    count = token_count(TWICE + USAGE, last=USAGE)
    assert observe(sync, count)["usage"].own_total == USAGE


def test_of_what_a_child_inherits_only_the_usage_is_a_fact(clock: ManualClock) -> None:
    sync = ThreadMetadataSync.for_resume(stored_thread(), clock)
    sync.inherit(turn("t1", "x", usage=USAGE))
    patch = sync.take(idle=True)
    assert patch is not None
    assert patch.present() == {"usage": ThreadUsage(inherited={"gpt-5.1": USAGE})}
    assert observe(sync, token_count(TWICE, last=USAGE))["usage"].own_total == USAGE
