"""What a rollout says by itself, whole or damaged."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.stores.local.homes import GIT, START, CodexHome, encode, header

from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.metadata import GitInfo, TokenUsage
from threadstore.stores.local.derive import Derived
from threadstore.testing import items

USAGE = TokenUsage(input_tokens=1, output_tokens=2, total_tokens=3)


@pytest.fixture
def home(tmp_path: Path) -> CodexHome:
    return CodexHome(tmp_path)


@pytest.fixture
def thread_id() -> str:
    return new_thread_id()


def record(thread_id: str, patch: dict[str, Any] | None = None, **fields: Any) -> RolloutItem:
    """The small line of an explicit edit."""
    extra = {} if patch is None else {"threadstore": {"patch": patch}}
    return header(thread_id, **fields, **extra)


def later(seconds: int) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def test_a_whole_thread_is_described(home: CodexHome, thread_id: str) -> None:
    lines = [header(thread_id, git=GIT), *items.turn("t1", "fix it\nnow", usage=USAGE)]
    derived = home.derive(home.write(lines, thread_id))
    thread = derived.thread
    assert thread is not None
    assert (derived.header, derived.lines, derived.damaged, derived.problem) == (True, 9, 0, None)
    assert (thread.id, thread.session_id) == (thread_id, thread_id)
    assert (thread.title, thread.preview, thread.first_user_message) == ("fix it\nnow",) * 3
    assert (thread.created_at, thread.updated_at) == (START, later(8))
    assert thread.recency_at == later(1)
    assert (thread.model, thread.reasoning_effort, thread.approval_mode) == (
        "gpt-5.1",
        "high",
        "never",
    )
    assert thread.git == GitInfo(sha="abc", branch="main", origin_url=GIT["repository_url"])
    assert thread.token_usage == USAGE
    assert (thread.source, thread.model_provider, thread.cwd) == ("cli", "openai", "/repo")
    assert thread.archived_at is None
    assert {"git", "model", "preview"} <= derived.said
    assert "memory_mode" not in derived.said


def test_what_is_derived_survives_json(home: CodexHome, thread_id: str) -> None:
    derived = home.derive(home.write([header(thread_id), b"{", *items.turn("t", "x")], thread_id))
    assert msgspec.json.decode(msgspec.json.encode(derived), type=Derived) == derived


def test_an_archived_file_makes_an_archived_thread(home: CodexHome, thread_id: str) -> None:
    file = home.write([header(thread_id)], thread_id, archived=True)
    os.utime(file.path, ns=(0, 1_700_000_000_123_456_789))
    file = home.write([header(thread_id)], path=file.path)
    derived = home.derive(file)
    assert derived.thread is not None
    assert derived.thread.archived


@pytest.mark.parametrize("first", [b"garbage", b'{"timestamp":1,"type"', b"\xff\xfe\x00"])
def test_a_damaged_head_keeps_the_thread(home: CodexHome, thread_id: str, first: bytes) -> None:
    derived = home.derive(home.write([first, *items.turn("t1", "still here")], thread_id))
    thread = derived.thread
    assert thread is not None
    assert (derived.header, derived.damaged, derived.damage[0].position) == (False, 1, 1)
    assert derived.problem is not None
    assert (thread.id, thread.source, thread.preview) == (thread_id, "vscode", "still here")
    assert thread.created_at == dt.datetime(2026, 5, 4, 3, 2, 1).astimezone()


def test_a_bom_costs_nothing(home: CodexHome, thread_id: str) -> None:
    data = b"\xef\xbb\xbf" + encode([header(thread_id), *items.turn("t1", "x")])
    derived = home.derive(home.write(data, thread_id))
    assert (derived.header, derived.damaged) == (True, 0)


def test_a_torn_tail_costs_itself(home: CodexHome, thread_id: str) -> None:
    data = encode([header(thread_id), *items.turn("t1", "x")]) + b'{"timestamp":"2026'
    derived = home.derive(home.write(data, thread_id))
    assert derived.thread is not None
    assert (derived.damaged, derived.thread.preview) == (1, "x")
    assert derived.thread.updated_at == later(7)


def test_the_header_names_the_thread_and_not_the_file(home: CodexHome, thread_id: str) -> None:
    other = new_thread_id()
    derived = home.derive(home.write([header(thread_id), *items.turn("t", "x")], other))
    assert derived.thread is not None
    assert derived.thread.id == thread_id
    assert other in (derived.problem or "")


def test_a_copied_header_behind_a_damaged_one_names_nothing(
    home: CodexHome, thread_id: str
) -> None:
    source = header(new_thread_id(), cwd="/source", memory_mode="polluted", git=GIT)
    derived = home.derive(home.write([b"{", source, *items.turn("t", "x")], thread_id))
    thread = derived.thread
    assert thread is not None
    assert (thread.id, derived.header) == (thread_id, False)
    assert (thread.cwd, thread.memory_mode, thread.git) == ("/repo", "enabled", None)


def test_copied_headers_of_a_fork_say_nothing(home: CodexHome, thread_id: str) -> None:
    source = header(new_thread_id(), cwd="/source", memory_mode="polluted", git=GIT, source="exec")
    own = header(thread_id, forked_from_id=source.payload["id"])
    thread = home.facts([own, source, *items.turn("t", "copied")], thread_id)
    assert (thread.cwd, thread.memory_mode, thread.git) == ("/repo", "enabled", None)
    assert (thread.source, thread.preview) == ("cli", "copied")
    assert thread.forked_from_id == source.payload["id"]


def test_a_header_with_a_bad_id_is_still_the_header(home: CodexHome, thread_id: str) -> None:
    lines = [header("nonsense", cwd="/kept"), *items.turn("t", "x")]
    thread = home.facts(lines, thread_id)
    assert (thread.id, thread.cwd, thread.source) == (thread_id, "/kept", "cli")


def test_unknown_values_degrade_fields_and_not_the_thread(home: CodexHome, thread_id: str) -> None:
    own = header(thread_id, source={"weird": 1}, memory_mode="polluted", cli_version=None)
    thread = home.facts([own, *items.turn("t", "x")], thread_id)
    assert (thread.source, thread.memory_mode, thread.cli_version) == ("unknown", "polluted", "")


def test_a_file_without_any_id_is_no_thread(home: CodexHome) -> None:
    path = f"{home.home.sessions}/rollout-foo.jsonl"
    derived = home.derive(home.write(items.turn("t", "x"), path=path))
    assert derived.thread is None
    assert derived.problem


def test_an_empty_file_has_no_lines(home: CodexHome, thread_id: str) -> None:
    derived = home.derive(home.write(b"\n \n", thread_id))
    assert derived.damaged == 0
    assert derived.problem


def test_an_unreadable_file_keeps_the_thread(home: CodexHome, thread_id: str) -> None:
    path = home.path(thread_id) + ".zst"
    derived = home.derive(home.write(b"not zstandard", path=path))
    assert derived.thread is not None
    assert derived.thread.id == thread_id
    assert derived.problem or derived.damaged


def test_a_file_of_0_29_is_readable(home: CodexHome, thread_id: str) -> None:
    def message(text: str) -> bytes:
        content = [{"type": "input_text", "text": text}]
        return msgspec.json.encode(
            {"type": "message", "id": None, "role": "user", "content": content}
        )

    head = {"id": thread_id, "timestamp": "2025-09-01T10:00:00.000Z", "git": {"branch": "old"}}
    lines = [
        msgspec.json.encode(head),
        b'{"record_type":"state"}',
        message("<environment_context>\n<cwd>/old</cwd>\n</environment_context>"),
        message("an old question"),
    ]
    derived = home.derive(home.write(lines, thread_id))
    thread = derived.thread
    assert thread is not None
    assert (thread.id, thread.preview, thread.cwd) == (thread_id, "an old question", "/old")
    assert thread.created_at == dt.datetime(2025, 9, 1, 10, tzinfo=dt.UTC)
    assert thread.git == GitInfo(branch="old")


# Metadata lines of Codex


def test_a_memory_mode_line_without_git_keeps_the_git_facts(
    home: CodexHome, thread_id: str
) -> None:
    lines = [header(thread_id, git=GIT), header(thread_id, memory_mode="disabled")]
    thread = home.facts(lines, thread_id)
    assert thread.memory_mode == "disabled"
    assert thread.git is not None
    assert thread.git.branch == "main"


def test_a_git_line_counts_as_a_whole(home: CodexHome, thread_id: str) -> None:
    lines = [header(thread_id, git=GIT), header(thread_id, git={"commit_hash": "def"})]
    assert home.facts(lines, thread_id).git == GitInfo(sha="def")
    derived = home.derive(home.write([*lines, header(thread_id, git={})], thread_id))
    assert derived.thread is not None
    assert (derived.thread.git, derived.git_edited) == (None, True)


def test_a_copy_of_the_headers_git_facts_is_no_edit(home: CodexHome, thread_id: str) -> None:
    lines = [header(thread_id, git=GIT), header(thread_id, git=GIT, memory_mode="disabled")]
    assert not home.derive(home.write(lines, thread_id)).git_edited


def test_later_headers_never_clear_or_replace_what_the_first_one_says(
    home: CodexHome, thread_id: str
) -> None:
    first = header(thread_id, cwd="/first", agent_nickname="Ada", thread_source="user")
    thread = home.facts([first, header(thread_id, cwd="/second")], thread_id)
    assert (thread.cwd, thread.agent_nickname, thread.thread_source) == ("/first", "Ada", "user")


def test_credentials_never_leave_the_log(home: CodexHome, thread_id: str) -> None:
    url = "https://user:secret@example.org/r.git"
    thread = home.facts([header(thread_id, git={"repository_url": url})], thread_id)
    assert thread.git == GitInfo(origin_url="https://example.org/r.git")


# Explicit edits of ours


def test_an_explicit_edit_wins_over_what_came_before(home: CodexHome, thread_id: str) -> None:
    patch = {"title": "said", "model": "m", "agent_nickname": None, "created_at": START}
    lines = [
        header(thread_id, agent_nickname="Ada"),
        *items.turn("t1", "first"),
        record(thread_id, msgspec.to_builtins(patch)),
    ]
    thread = home.facts(lines, thread_id)
    assert (thread.title, thread.preview, thread.model) == ("said", "first", "m")
    assert thread.agent_nickname is None


def test_later_turns_override_explicit_settings_but_no_texts(
    home: CodexHome, thread_id: str
) -> None:
    patch = {"title": "said", "preview": "said", "cwd": "/said", "model": "m"}
    lines = [header(thread_id, cwd=""), record(thread_id, patch, cwd="")]
    thread = home.facts([*lines, *items.turn("t1", "first")], thread_id)
    assert (thread.title, thread.preview, thread.cwd) == ("said", "said", "/said")
    assert (thread.model, thread.first_user_message) == ("gpt-5.1", "first")


def test_a_header_copied_later_does_not_undo_an_explicit_edit(
    home: CodexHome, thread_id: str
) -> None:
    lines = [header(thread_id), record(thread_id, {"cwd": "/said"}), header(thread_id)]
    assert home.facts(lines, thread_id).cwd == "/said"


def test_an_explicit_time_counts_until_history_goes_on(home: CodexHome, thread_id: str) -> None:
    lines = [header(thread_id), record(thread_id, {"updated_at": "2026-01-01T00:00:00Z"})]
    assert home.facts(lines, thread_id).updated_at.year == 2026
    assert home.facts(lines, thread_id).updated_at < START
    assert home.facts([*lines, items.unknown_item()], thread_id).updated_at == later(2)


@pytest.mark.parametrize("broken", ["text", {"patch": {"title": 5}}, {"patch": {"novel": 1}}])
def test_an_edit_that_cannot_be_read_is_reported(
    home: CodexHome, thread_id: str, broken: Any
) -> None:
    lines = [header(thread_id, threadstore=broken), *items.turn("t", "x")]
    derived = home.derive(home.write(lines, thread_id))
    assert derived.thread is not None
    assert derived.thread.preview == "x"


# Paginated threads


def paginated(item: RolloutItem, ordinal: int) -> bytes:
    return item.encode("2026-05-04T03:02:01.000Z", ordinal)


def test_a_paginated_fork_inherits_the_preview_alone(home: CodexHome, thread_id: str) -> None:
    source = new_thread_id()
    base = [
        paginated(header(source, history_mode="paginated"), 0),
        paginated(items.user_item_completed(source, "t1", "inherited"), 1),
        paginated(items.token_count(USAGE), 2),
    ]
    file = home.write(base, source)
    fork_of = {"thread_id": source, "end_ordinal_exclusive": 3, "end_byte_offset": file.size}
    own = header(thread_id, history_mode="paginated", history_base=fork_of, forked_from_id=source)
    derived = home.derive(home.write([paginated(own, 3)], thread_id))
    thread = derived.thread
    assert thread is not None
    assert (thread.preview, thread.title, thread.token_usage) == ("inherited", None, None)
    assert (thread.history_mode, thread.forked_from_id, derived.lines) == ("paginated", source, 4)
    more = [paginated(own, 3), paginated(items.user_item_completed(thread_id, "t2", "own"), 4)]
    thread = home.facts(more, thread_id)
    assert (thread.preview, thread.title, thread.first_user_message) == ("inherited", "own", "own")


def test_a_reverted_thread_keeps_its_own_beginning(home: CodexHome, thread_id: str) -> None:
    base = [
        paginated(header(thread_id, history_mode="paginated"), 0),
        paginated(items.user_item_completed(thread_id, "t1", "first"), 1),
        paginated(items.user_item_completed(thread_id, "t2", "taken back"), 2),
    ]
    file = home.write(base, thread_id)
    size = file.size - len(base[2]) - 1
    kept = {"thread_id": thread_id, "end_ordinal_exclusive": 2, "end_byte_offset": size}
    own = header(thread_id, history_mode="paginated", history_base=kept)
    path = home.path(f"{thread_id}_{new_thread_id()}", stamp="2026-05-05T00-00-00")
    thread = home.derive(home.write([paginated(own, 2)], path=path)).thread
    assert thread is not None
    assert (thread.id, thread.title, thread.preview) == (thread_id, "first", "first")


def test_a_fork_whose_source_is_lost_is_reported(home: CodexHome, thread_id: str) -> None:
    lost = {"thread_id": new_thread_id(), "end_ordinal_exclusive": 3, "end_byte_offset": 9}
    own = header(thread_id, history_mode="paginated", history_base=lost)
    lines = [paginated(own, 3), paginated(items.user_item_completed(thread_id, "t", "own"), 4)]
    derived = home.derive(home.write(lines, thread_id))
    assert derived.thread is not None
    assert (derived.thread.preview, derived.incomplete) == ("own", True)
    assert "missing" in (derived.problem or "")
