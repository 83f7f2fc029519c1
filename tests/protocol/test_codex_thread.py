"""A thread and its turns in the words of Codex's v2 protocol."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from msgspec.json import encode

from threadstore.clock import UTC
from threadstore.history.turns import StoredTurn, TurnError, build_turns
from threadstore.metadata import GitInfo, Section, SessionSource, StoredThread
from threadstore.protocol.codex_thread import (
    listed_thread,
    protocol_items,
    protocol_source,
    protocol_thread,
    protocol_turn,
)
from threadstore.testing import items

ID = "01a201e8-0ca9-7a21-aae0-e16912c4d29c"
MOMENT = dt.datetime(2026, 3, 4, 5, 6, 7, 999_000, tzinfo=UTC)
SECONDS = 1772600767

THREAD_0_169: dict[str, Any] = {
    "id": ID,
    "environments": None,
    "extra": None,
    "sessionId": ID,
    "forkedFromId": None,
    "attachedToThreadId": None,
    "parentThreadId": None,
    "preview": "hello",
    "ephemeral": False,
    "section": None,
    "sectionEnteredAt": None,
    "projectId": None,
    "historyMode": "legacy",
    "modelProvider": "openai",
    "model": None,
    "reasoningEffort": None,
    "createdAt": SECONDS,
    "updatedAt": SECONDS,
    "recencyAt": SECONDS,
    "status": {"type": "notLoaded"},
    "path": None,
    "cwd": "/repo",
    "cliVersion": "0.169.0",
    "originator": None,
    "source": "vscode",
    "canAcceptDirectInput": None,
    "threadSource": None,
    "agentNickname": None,
    "agentRole": None,
    "gitInfo": None,
    "name": None,
    "daybreakEnabled": None,
    "turns": [],
}
"""What Codex 0.169 lists for a thread that is not loaded, keys in its order."""


def thread(**facts: Any) -> StoredThread:
    return StoredThread(
        **{
            "id": ID,
            "preview": "hello",
            "created_at": MOMENT,
            "updated_at": MOMENT,
            "recency_at": MOMENT,
            "cwd": "/repo",
            "model_provider": "openai",
            "cli_version": "0.169.0",
            "source": "vscode",
            **facts,
        }
    )


def turn(**facts: Any) -> StoredTurn:
    return StoredTurn(
        **{"id": "t", "status": "completed", "first_position": 1, "last_position": 2, **facts}
    )


def test_a_thread_has_every_key_of_0_169_in_its_order() -> None:
    result = protocol_thread(thread())
    assert result == THREAD_0_169
    assert list(result) == list(THREAD_0_169)


def test_a_thread_in_a_list_is_written_as_any_other() -> None:
    for facts in ({}, {"name": "a name", "git": GitInfo(sha="1"), "source": "mcp"}):
        stored = thread(**facts)
        assert encode(listed_thread(stored)) == encode(protocol_thread(stored))


def test_facts_have_their_protocol_names_and_times_are_whole_seconds() -> None:
    result = protocol_thread(
        thread(
            session_id="session",
            name="a name",
            git=GitInfo(branch="main"),
            section=Section(id="s", name="Favourites"),
            section_entered_at=MOMENT,
            rollout_path="/home/rollout.jsonl",
        )
    )
    assert result["sessionId"] == "session"
    assert result["name"] == "a name"
    assert result["gitInfo"] == {"sha": None, "branch": "main", "originUrl": None}
    assert result["section"] == {"id": "s", "name": "Favourites", "appearance": None}
    assert result["sectionEnteredAt"] == SECONDS
    assert result["path"] == "/home/rollout.jsonl"


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ('{"icon":"star","color":"red"}', {"icon": "star", "color": "red"}),
        (None, None),
        ("", None),
        ("star", None),
        ("[1]", None),
    ],
)
def test_how_a_section_looks_is_an_object(kept: str | None, shown: object) -> None:
    section = Section(id="s", name="Favourites", appearance=kept)
    assert protocol_thread(thread(section=section))["section"]["appearance"] == shown


def test_a_server_says_what_it_alone_knows() -> None:
    result = protocol_thread(
        thread(), status={"type": "idle"}, environments=[], can_accept_direct_input=True
    )
    assert (result["status"], result["environments"]) == ({"type": "idle"}, [])
    assert result["canAcceptDirectInput"] is True


@pytest.mark.parametrize(
    ("stored", "protocol"),
    [
        ("cli", "cli"),
        ("exec", "exec"),
        ("mcp", "appServer"),
        ("unknown", "unknown"),
        ("of tomorrow", "unknown"),
        ({"custom": "atlas"}, {"custom": "atlas"}),
        ({"internal": "memory_consolidation"}, "unknown"),
        ({"subagent": "review"}, {"subAgent": "review"}),
        ({"subagent": {"other": "guardian"}}, {"subAgent": {"other": "guardian"}}),
    ],
)
def test_sources_are_renamed(stored: SessionSource, protocol: SessionSource) -> None:
    assert protocol_source(stored) == protocol


def test_a_turn_has_every_key_of_0_169_in_its_order() -> None:
    result = protocol_turn(
        turn(
            root_turn_id="r",
            status="in_progress",
            started_at=MOMENT,
            completed_at=None,
            duration_ms=None,
        )
    )
    assert list(result.items()) == [
        ("id", "t"),
        ("rootTurnId", "r"),
        ("items", []),
        ("itemsView", "full"),
        ("status", "inProgress"),
        ("error", None),
        ("startedAt", SECONDS),
        ("completedAt", None),
        ("durationMs", None),
    ]


def test_a_time_that_no_event_says_is_not_told() -> None:
    result = protocol_turn(
        turn(started_at=MOMENT, completed_at=MOMENT, estimated=frozenset({"started_at"}))
    )
    assert (result["startedAt"], result["completedAt"]) == (None, SECONDS)


def test_items_of_turns_are_in_the_order_of_the_log() -> None:
    history = [
        items.item_completed("th", "outer", {"type": "EnteredReviewMode", "id": "1"}),
        items.task_started("inner"),
        items.item_completed("th", "inner", {"type": "UserMessage", "id": "2"}),
        items.item_completed("th", "outer", {"type": "ExitedReviewMode", "id": "3"}),
        items.task_complete("outer"),
    ]
    for position, entry in enumerate(history, start=1):
        entry.position = position
    listed = protocol_items(build_turns(history))
    assert [(entry["turnId"], entry["item"]["id"]) for entry in listed] == [
        ("outer", "1"),
        ("inner", "2"),
        ("outer", "3"),
    ]
    assert list(listed[0]) == ["turnId", "item", "startedAtMs", "completedAtMs"]


@pytest.mark.parametrize(
    ("stored", "protocol"),
    [
        (None, None),
        ("usage_limit_exceeded", "usageLimitExceeded"),
        ("invalid_prompt", "other"),
        (
            {"http_connection_failed": {"http_status_code": 500}},
            {"httpConnectionFailed": {"httpStatusCode": 500}},
        ),
    ],
)
def test_the_error_of_a_turn_keeps_its_reason(stored: Any, protocol: Any) -> None:
    failed = turn(status="failed", error=TurnError(message="no", info=stored, details="why"))
    assert protocol_turn(failed)["error"] == {
        "message": "no",
        "codexErrorInfo": protocol,
        "additionalDetails": "why",
        "misalignment": None,
    }
