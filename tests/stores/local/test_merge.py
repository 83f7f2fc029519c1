"""Who is believed when log, row and name index disagree."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import msgspec
import pytest

from threadstore.clock import UTC, to_ms
from threadstore.metadata import GitInfo, Section, StoredThread, ThreadUsage, TokenUsage
from threadstore.stores.local.derive import Derived
from threadstore.stores.local.merge import adopt, merge, rebase, settle
from threadstore.stores.local.state_rows import StateRow

ID: Final = "01a201e5-a996-7a61-8db2-c256091e8939"
CREATED: Final = dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
LOGGED: Final = CREATED + dt.timedelta(minutes=1)
TOUCHED: Final = CREATED + dt.timedelta(hours=1)
GIT: Final = GitInfo(sha="a", branch="main", origin_url="https://example.org/r.git")
HEADER: Final = ("cwd", "cli_version", "model_provider")


def thread(**fields: Any) -> StoredThread:
    """What a log says: a legacy thread whose first message was "hello"."""
    defaults: dict[str, Any] = {
        "id": ID,
        "session_id": ID,
        "rollout_path": "/home/sessions/r.jsonl",
        "created_at": CREATED,
        "updated_at": LOGGED,
        "recency_at": LOGGED,
        "title": "hello",
        "preview": "hello",
        "first_user_message": "hello",
        "model_provider": "openai",
        "model": "logged",
        "source": "cli",
        "cwd": "/logged",
        "cli_version": "0.131.0",
    }
    return StoredThread(**{**defaults, **fields})


def derived(
    logged: StoredThread | None = None, *, header: bool = True, said: tuple[str, ...] = ()
) -> Derived:
    logged = logged or thread()
    archived = logged.archived_at is not None
    return Derived(
        path="/home/sessions/r.jsonl",
        size=1,
        mtime_ns=1,
        inode=1,
        archived=archived,
        thread=logged,
        header=header,
        said=frozenset(said) | {field for field in HEADER if header and getattr(logged, field)},
        lines=3,
    )


def row(**fields: Any) -> StateRow:
    """What Codex keeps of the same thread."""
    defaults: dict[str, Any] = {
        "id": ID,
        "rollout_path": "/old/home/sessions/r.jsonl",
        "created_at_ms": to_ms(CREATED) - 4,
        "updated_at_ms": to_ms(TOUCHED),
        "title": "hello",
        "preview": "hello",
        "first_user_message": "hello",
        "source": "vscode",
        "cwd": "/row",
        "model_provider": "row",
        "model": "row",
        "reasoning_effort": "high",
        "approval_mode": "never",
        "memory_mode": "enabled",
    }
    return StateRow(**{**defaults, **fields})


def merged(
    logged: Derived | None = None, entry: StateRow | None = None, name: str | None = None
) -> StoredThread:
    return merge(logged or derived(), entry, name, default_provider="default")


PAGINATED: Final = derived(
    thread(history_mode="paginated", title=None, first_user_message=None, git=GIT)
)


def paginated_row(**fields: Any) -> StateRow:
    return row(history_mode="paginated", **fields)


# Names


@pytest.mark.parametrize(
    ("title", "indexed", "name"),
    [
        ("hello", None, None),
        ("hello", "indexed", "indexed"),
        ("mine", None, "mine"),
        ("mine", "mine", "mine"),
        ("newer", "older", "newer"),
        ("  ", "indexed", "indexed"),
        ("", None, None),
        ("  hello\n", "indexed", "indexed"),
        ("hello", "hello", "hello"),
        ("hello", "", None),
        ("mine", "", "mine"),
    ],
    ids=[
        "a title that repeats the message is no name",
        "a clobbered title leaves the name to the index",
        "a title of its own is a name",
        "both agree",
        "a title is newer than the entry that could not be written",
        "a blank title is none",
        "nothing is nothing",
        "white space makes no name",
        "a name may repeat the first message",
        "a cleared entry names nothing",
        "a name given after a cleared one counts",
    ],
)
def test_the_name_of_a_legacy_thread(title: str, indexed: str | None, name: str | None) -> None:
    assert merged(entry=row(title=title), name=indexed).name == name


def test_a_title_that_codex_derived_otherwise_is_no_name() -> None:
    logged = derived(thread(title="with elements", preview="[Image]", first_user_message="[Image]"))
    entry = row(title="with elements", preview="[Image]", first_user_message="[Image]")
    after = merged(logged, entry)
    assert (after.name, after.title, after.preview) == (None, "with elements", "[Image]")


def test_a_goal_is_no_name() -> None:
    logged = derived(thread(title=None, preview="ship it", first_user_message=None))
    assert merged(logged, row(title="ship it", preview="ship it")).name is None


def test_a_name_without_any_message_is_a_name() -> None:
    logged = derived(thread(title=None, preview="", first_user_message=None))
    entry = row(title="early", preview="", first_user_message="")
    after = merged(logged, entry, "early")
    assert (after.name, after.title, after.preview) == ("early", None, "")


def test_the_name_column_of_a_legacy_row_is_asked_last() -> None:
    assert merged(entry=row(name="column")).name == "column"
    assert merged(entry=row(name="column"), name="indexed").name == "indexed"
    assert merged(entry=row(name="column"), name="").name is None


@pytest.mark.parametrize(
    ("column", "indexed", "name"),
    [("mine", "older", "mine"), (None, "indexed", "indexed"), (" ", None, None), (None, "", None)],
)
def test_the_name_of_a_paginated_thread(
    column: str | None, indexed: str | None, name: str | None
) -> None:
    after = merged(PAGINATED, paginated_row(name=column, title="a title"), indexed)
    assert (after.name, after.title) == (name, "a title")


@pytest.mark.parametrize("logged", [derived(), PAGINATED])
def test_without_a_row_the_index_names_the_thread(logged: Derived) -> None:
    assert merged(logged, None, "indexed").name == "indexed"
    assert merged(logged, None, "").name is None


# Legacy threads


def test_the_log_is_the_truth_of_a_legacy_thread() -> None:
    after = merged(entry=row(preview="other", first_user_message="other", tokens_used=7))
    assert (after.preview, after.first_user_message, after.title) == ("hello",) * 3
    assert (after.source, after.cwd, after.model_provider) == ("cli", "/logged", "openai")
    assert after.rollout_path == "/home/sessions/r.jsonl"


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        (dt.timedelta(milliseconds=-4), dt.timedelta(milliseconds=-4)),
        (dt.timedelta(milliseconds=-678), dt.timedelta(0)),
        (dt.timedelta(hours=1), dt.timedelta(0)),
    ],
    ids=["the row's clock counts", "whole seconds do not", "a later time is not of the creation"],
)
def test_the_time_of_creation(off: dt.timedelta, expected: dt.timedelta) -> None:
    entry = row(created_at_ms=to_ms(CREATED + off))
    assert merged(entry=entry).created_at == CREATED + expected


def test_the_row_knows_settings_and_times() -> None:
    entry = row(recency_at_ms=to_ms(TOUCHED) - 1, sandbox_policy={"type": "danger-full-access"})
    after = merged(entry=entry)
    assert (after.model, after.reasoning_effort, after.approval_mode) == ("row", "high", "never")
    assert after.sandbox_policy == {"type": "danger-full-access"}
    assert after.updated_at == TOUCHED
    assert after.recency_at == TOUCHED - dt.timedelta(milliseconds=1)


def test_without_a_row_the_log_knows_the_times() -> None:
    after = merged()
    assert (after.updated_at, after.recency_at, after.model) == (LOGGED, LOGGED, "logged")


def test_a_row_that_never_saw_a_turn_says_nothing_about_settings() -> None:
    policy = {"type": "danger-full-access"}
    logged = derived(thread(approval_mode="never", sandbox_policy=policy))
    entry = row(model=None, approval_mode="on-request", sandbox_policy={"type": "read-only"})
    after = merged(logged, entry)
    assert (after.model, after.approval_mode, after.sandbox_policy) == ("logged", "never", policy)


def test_both_forms_of_one_policy_are_kept() -> None:
    policy, profile = {"type": "danger-full-access"}, {"type": "disabled"}
    logged = derived(thread(sandbox_policy=policy, permission_profile=profile))
    after = merged(logged, row(permission_profile=profile))
    assert (after.sandbox_policy, after.permission_profile) == (policy, profile)
    after = merged(logged, row(sandbox_policy={"type": "read-only"}))
    assert (after.sandbox_policy, after.permission_profile) == ({"type": "read-only"}, None)


def test_times_that_are_missing_or_absurd_are_not_believed() -> None:
    after = merged(entry=row(updated_at_ms=0, recency_at_ms=10**17))
    assert (after.updated_at, after.recency_at) == (LOGGED, LOGGED)


@pytest.mark.parametrize("logged", [GIT, None])
def test_a_logged_edit_of_git_facts_decides_also_when_cleared(logged: GitInfo | None) -> None:
    entry = row(git_sha="row", git_branch="comes back")
    edited = msgspec.structs.replace(derived(thread(git=logged)), git_edited=True)
    assert merged(edited, entry).git == logged


@pytest.mark.parametrize("said", [GitInfo(branch="edited"), None])
def test_an_edit_that_only_the_row_has_seen_decides_too(said: GitInfo | None) -> None:
    entry = row(git_branch=said.branch if said else None)
    assert merged(derived(thread(git=GIT), said=("git",)), entry).git == said
    assert merged(derived(thread(git=GIT), said=("git",))).git == GIT


def test_git_facts_of_a_row_lose_their_credentials() -> None:
    entry = row(git_branch="b", git_origin_url="https://user:secret@example.org/r.git")
    assert merged(entry=entry).git == GitInfo(branch="b", origin_url="https://example.org/r.git")


def test_the_memory_mode_of_the_log_decides() -> None:
    said = derived(thread(memory_mode="disabled"), said=("memory_mode",))
    assert merged(said, row(memory_mode="enabled")).memory_mode == "disabled"
    assert merged(derived(), row(memory_mode="polluted")).memory_mode == "polluted"


def test_the_row_fills_in_what_a_damaged_head_has_lost() -> None:
    lost = thread(
        title=None, preview="", first_user_message=None, source="vscode", cwd="", cli_version=""
    )
    entry = row(
        preview="from the row",
        first_user_message="from the row",
        title="from the row",
        source={"subagent": {"thread_spawn": {"parent_thread_id": "p"}}},
        agent_nickname="Ada",
    )
    after = merged(derived(lost, header=False), entry)
    assert (after.preview, after.first_user_message, after.title) == ("from the row",) * 3
    assert (after.name, after.cwd, after.agent_nickname) == (None, "/row", "Ada")
    assert (after.source, after.parent_thread_id) == (entry.source, "p")
    assert to_ms(after.created_at) == entry.created_at_ms


def test_a_cleared_fact_is_not_filled_in_again() -> None:
    logged = derived(said=("agent_nickname",))
    assert merged(logged, row(agent_nickname="Ada")).agent_nickname is None
    assert merged(derived(), row(agent_nickname="Ada")).agent_nickname == "Ada"


def test_a_row_that_knows_the_same_sum_takes_no_counters_away() -> None:
    """A response was booked, and the process killed before its line: the row has the sum alone."""
    base = thread(token_usage=TokenUsage(input_tokens=1, total_tokens=1), history_mode="paginated")
    booked = TokenUsage(input_tokens=5, output_tokens=2, total_tokens=7)
    usage = ThreadUsage(own={"m": booked})
    ours = msgspec.structs.replace(base, token_usage=booked, usage=usage)
    theirs = msgspec.structs.replace(base, token_usage=TokenUsage(total_tokens=7))
    after = rebase(base, ours, theirs)
    assert (after.token_usage, after.usage) == (booked, usage)


@pytest.mark.parametrize(("logged", "kept"), [(3, True), (7, True), (9, False)])
def test_what_was_booked_counts_while_the_log_has_not_gone_on(logged: int, kept: bool) -> None:
    booked = TokenUsage(input_tokens=5, output_tokens=2, total_tokens=7)
    ours = thread(token_usage=booked, usage=ThreadUsage(own={"m": booked}))
    other = TokenUsage(input_tokens=logged, total_tokens=logged)
    theirs = thread(token_usage=other, usage=ThreadUsage(own={"m": other}))
    after = adopt(ours, theirs)
    expected = ours if kept else theirs
    assert (after.token_usage, after.usage) == (expected.token_usage, expected.usage)


def test_tokens_of_the_log_are_complete_and_of_the_row_a_total() -> None:
    usage = TokenUsage(input_tokens=1, output_tokens=2, total_tokens=3)
    assert merged(derived(thread(token_usage=usage)), row(tokens_used=9)).token_usage == usage
    assert merged(entry=row(tokens_used=9)).token_usage == TokenUsage(total_tokens=9)


def test_a_provider_is_always_named() -> None:
    logged = derived(thread(model_provider=""))
    assert merged(logged).model_provider == "default"
    assert merged(logged, row()).model_provider == "row"


# Archived or not


def test_where_the_file_lies_decides_whether_the_thread_is_archived() -> None:
    assert merged(entry=row(archived=True, archived_at_ms=to_ms(TOUCHED))).archived_at is None
    archived = derived(thread(archived_at=LOGGED))
    assert merged(archived, row(archived=False)).archived_at == LOGGED
    entry = row(archived=True, archived_at_ms=to_ms(TOUCHED))
    assert merged(archived, entry).archived_at == TOUCHED


# Paginated threads


def test_the_row_is_the_truth_of_a_paginated_thread() -> None:
    entry = paginated_row(
        git_branch="edited", memory_mode="disabled", preview="p", title="t", tokens_used=5
    )
    after = merged(PAGINATED, entry)
    assert (after.git, after.memory_mode) == (GitInfo(branch="edited"), "disabled")
    assert (after.preview, after.title, after.first_user_message) == ("p", "t", "hello")
    assert (after.cwd, after.source, after.history_mode) == ("/row", "vscode", "paginated")
    assert after.token_usage == TokenUsage(total_tokens=5)


def test_cleared_git_facts_of_a_paginated_thread_stay_cleared() -> None:
    assert merged(PAGINATED, paginated_row()).git is None


def test_without_a_row_the_header_of_a_paginated_thread_speaks() -> None:
    after = merged(PAGINATED)
    assert (after.git, after.history_mode, after.preview) == (GIT, "paginated", "hello")


def test_the_header_says_the_mode_and_the_row_only_without_one() -> None:
    assert merged(derived(), paginated_row()).history_mode == "legacy"
    assert merged(derived(header=False), paginated_row()).history_mode == "paginated"


def test_what_only_rows_know_is_read() -> None:
    section = Section(id="s", name="Pinned")
    entry = row(
        section=section,
        section_position=1,
        section_entered_at_ms=to_ms(TOUCHED),
        project_id="p",
        daybreak_enabled=True,
    )
    after = merged(entry=entry)
    assert (after.section, after.section_position, after.section_entered_at) == (
        section,
        1,
        TOUCHED,
    )
    assert (after.project_id, after.daybreak_enabled) == ("p", True)


# What this program has written since


def test_our_value_stands_until_the_sources_say_something_new() -> None:
    base = thread(model="a", preview="p")
    ours = msgspec.structs.replace(base, model="ours", preview="ours")
    assert rebase(base, ours, base) == ours
    theirs = msgspec.structs.replace(base, model="theirs")
    after = rebase(base, ours, theirs)
    assert (after.model, after.preview) == ("theirs", "ours")


def test_where_the_file_lies_is_never_ours_to_say() -> None:
    base = thread()
    ours = msgspec.structs.replace(base, rollout_path="/elsewhere", archived_at=LOGGED)
    assert rebase(base, ours, base) == base
    moved = msgspec.structs.replace(base, rollout_path="/elsewhere", archived_at=TOUCHED)
    assert rebase(base, ours, moved).archived_at == LOGGED


def test_the_record_of_a_writer_that_broke_off_completes_the_log() -> None:
    ours = thread(preview="ours", model="ours", token_usage=TokenUsage(total_tokens=1))
    after = adopt(ours, thread(title="theirs", model="theirs"))
    assert (after.preview, after.title, after.model) == ("ours", "hello", "theirs")
    assert after.token_usage == TokenUsage(total_tokens=1)


def test_a_writer_that_let_go_knows_all_but_what_others_say() -> None:
    ours = thread(name="ours", model="ours", rollout_path="/old")
    theirs = thread(name="theirs", model="theirs", section_position=4)
    after = settle(ours, theirs)
    assert (after.name, after.model, after.section_position) == ("theirs", "ours", 4)
    assert after.rollout_path == theirs.rollout_path
