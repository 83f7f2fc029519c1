"""The patch algebra: three states of a field, merge laws, literal application."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.clock import UTC, from_ms
from threadstore.errors import InvalidRequest
from threadstore.ids import new_thread_id
from threadstore.metadata import (
    UNSET,
    GitInfo,
    GitInfoPatch,
    NewThread,
    SessionSource,
    StoredThread,
    ThreadMetadataPatch,
    ThreadUsage,
    TokenUsage,
    is_subagent,
    source_kind,
    source_parent,
)

_NOW = dt.datetime(2026, 11, 22, tzinfo=UTC)

_texts = st.text(max_size=8)
_clearable = st.none() | _texts
_times = st.integers(0, 4 * 10**12).map(from_ms)
_gits = st.fixed_dictionaries(
    {}, optional={"sha": _clearable, "branch": _clearable, "origin_url": _clearable}
)
_objects = st.dictionaries(_texts, _texts | st.integers(-5, 5), max_size=2)
_usages = st.builds(TokenUsage, input_tokens=st.integers(0, 9), total_tokens=st.integers(0, 9))
_fields: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "name": st.none() | st.text(min_size=1, max_size=8).filter(str.strip),
        "title": _texts,
        "preview": _texts,
        "first_user_message": _texts,
        "created_at": _times,
        "updated_at": _times,
        "advance_recency_at": _times,
        "cwd": _texts,
        "git": _gits.filter(bool).map(lambda fields: GitInfoPatch(**fields)),
        "model": _texts,
        "reasoning_effort": _clearable,
        "source": _texts | _objects,
        "thread_source": _clearable,
        "agent_nickname": _clearable,
        "approval_mode": _texts | _objects,
        "sandbox_policy": _objects,
        "permission_profile": _objects,
        "token_usage": _usages,
        "usage": st.builds(
            ThreadUsage, own=st.dictionaries(st.text(max_size=3), _usages, max_size=2)
        ),
        "memory_mode": st.sampled_from(["enabled", "disabled"]),
        "originator": _texts,
        "creator_user_id": _texts,
    },
)


def _patch(fields: dict[str, Any]) -> ThreadMetadataPatch:
    return ThreadMetadataPatch(**fields)


_patches = _fields.map(_patch)


def _thread(**fields: Any) -> StoredThread:
    base: dict[str, Any] = {
        "id": new_thread_id(),
        "created_at": _NOW,
        "updated_at": _NOW,
        "recency_at": _NOW,
        "model_provider": "openai",
    }
    return StoredThread(**{**base, **fields})


_threads = st.builds(
    lambda git, recency, originator: _thread(git=git, recency_at=recency, originator=originator),
    st.none() | st.builds(GitInfo, sha=st.text(min_size=1, max_size=4), branch=st.none() | _texts),
    _times,
    _clearable,
)


@given(_patches)
def test_the_json_form_keeps_absent_cleared_and_set_apart(patch: ThreadMetadataPatch) -> None:
    assert ThreadMetadataPatch.from_json(patch.to_json()) == patch


@given(_patches, _patches, _patches)
def test_merging_is_associative(
    a: ThreadMetadataPatch, b: ThreadMetadataPatch, c: ThreadMetadataPatch
) -> None:
    assert a.merge(b).merge(c) == a.merge(b.merge(c))


@given(_patches)
def test_the_empty_patch_changes_no_patch(patch: ThreadMetadataPatch) -> None:
    empty = ThreadMetadataPatch()
    assert patch.merge(empty) == empty.merge(patch) == patch


@given(_threads, _patches, _patches)
def test_a_merged_patch_does_what_its_parts_do_one_after_the_other(
    thread: StoredThread, a: ThreadMetadataPatch, b: ThreadMetadataPatch
) -> None:
    merged = a.merge(b).apply(thread)
    apart = b.apply(a.apply(thread))
    # A missing originator is filled by the first writer, while a merged patch keeps the last one.
    filled = {"originator", "creator_user_id"} & a.present().keys() & b.present().keys()
    for field in StoredThread.__struct_fields__:
        if field not in filled:
            assert getattr(merged, field) == getattr(apart, field)


@given(_threads)
def test_the_empty_patch_changes_no_thread(thread: StoredThread) -> None:
    empty = ThreadMetadataPatch()
    assert empty.is_empty()
    assert not empty.has_facts()
    assert empty.apply(thread) == thread


@given(_threads, _patches)
def test_applying_a_patch_twice_is_applying_it_once(
    thread: StoredThread, patch: ThreadMetadataPatch
) -> None:
    once = patch.apply(thread)
    assert patch.apply(once) == once


def test_the_three_states_in_json() -> None:
    assert ThreadMetadataPatch.from_json(b"{}") == ThreadMetadataPatch()
    assert ThreadMetadataPatch().to_json() == b"{}"
    cleared = ThreadMetadataPatch(name=None, git=GitInfoPatch(branch=None))
    assert cleared.to_json() == b'{"name":null,"git":{"branch":null}}'
    assert ThreadMetadataPatch.from_json('{"name":"a"}').name == "a"


@pytest.mark.parametrize("made", [ThreadMetadataPatch, GitInfoPatch])
def test_text_that_cannot_be_stored_is_refused(made: Any) -> None:
    field = "name" if made is ThreadMetadataPatch else "branch"
    with pytest.raises(InvalidRequest):
        made(**{field: "not UTF-8 \udcff"})
    assert getattr(made(**{field: "naïve 你好"}), field) == "naïve 你好"


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "null",
        '{"unknown":1}',
        '{"title":null}',
        '{"git":{}}',
        '{"git":null}',
        '{"git":{"sha":1}}',
        '{"name":5}',
        '{"name":"  "}',
        '{"memory_mode":"polluted"}',
        '{"updated_at":"2026-01-01T00:00:00"}',
    ],
)
def test_json_that_is_no_patch_is_refused(data: str) -> None:
    with pytest.raises(InvalidRequest):
        ThreadMetadataPatch.from_json(data)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": " \n"},
        {"name": 5},
        {"title": None},
        {"cwd": b"/a"},
        {"git": GitInfoPatch()},
        {"git": {"sha": "a"}},
        {"git": GitInfo(sha="a")},
        {"updated_at": "2026-01-01T00:00:00Z"},
        {"updated_at": dt.datetime(2026, 1, 1)},  # noqa: DTZ001 - naive on purpose
        {"memory_mode": "on"},
        {"source": 5},
        {"token_usage": {"total_tokens": 1}},
        {"usage": {"own": {}}},
        {"usage": ThreadUsage(own={"m": TokenUsage(total_tokens=cast("int", "1"))})},
        {"usage": ThreadUsage(own={"m": cast("TokenUsage", None)})},
    ],
)
def test_a_patch_of_a_wrong_type_cannot_be_made(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        ThreadMetadataPatch(**fields)


def test_absent_cleared_and_set_do_three_different_things() -> None:
    thread = _thread(name="old", reasoning_effort="high")
    assert ThreadMetadataPatch(title="t").apply(thread).name == "old"
    assert ThreadMetadataPatch(name=None).apply(thread).name is None
    assert ThreadMetadataPatch(name="  new ").apply(thread).name == "new"
    assert ThreadMetadataPatch(reasoning_effort=None).apply(thread).reasoning_effort is None


def test_a_title_never_becomes_a_name_nor_a_name_a_title() -> None:
    named = ThreadMetadataPatch(name="chosen").apply(_thread())
    observed = ThreadMetadataPatch(title="derived", preview="derived").apply(named)
    assert (observed.name, observed.title) == ("chosen", "derived")
    same = ThreadMetadataPatch(name="derived").apply(observed)
    assert (same.name, same.title, same.display_name) == ("derived", "derived", "derived")


def test_git_fields_change_one_by_one_and_vanish_with_the_last() -> None:
    thread = _thread(git=GitInfo(sha="a", branch="main"))
    patched = ThreadMetadataPatch(git=GitInfoPatch(branch=None, origin_url="u")).apply(thread)
    assert patched.git == GitInfo(sha="a", origin_url="u")
    nothing = ThreadMetadataPatch(git=GitInfoPatch(sha=None, branch=None)).apply(thread)
    assert nothing.git is None
    merged = GitInfoPatch(sha="b").merge(GitInfoPatch(branch=None))
    assert merged == GitInfoPatch(sha="b", branch=None)
    assert merged.origin_url is UNSET


def test_no_patch_carries_a_password_into_a_thread() -> None:
    url = "https://user:sekret@git.example.test/a.git"
    patched = ThreadMetadataPatch(git=GitInfoPatch(origin_url=url)).apply(_thread())
    assert patched.git == GitInfo(origin_url="https://git.example.test/a.git")


def test_recency_moves_forward_only() -> None:
    thread = _thread()
    earlier, later = _NOW - dt.timedelta(hours=1), _NOW + dt.timedelta(hours=1)
    assert ThreadMetadataPatch(advance_recency_at=earlier).apply(thread).recency_at == _NOW
    assert ThreadMetadataPatch(advance_recency_at=later).apply(thread).recency_at == later


def test_originator_and_creators_fill_a_gap_and_replace_nothing() -> None:
    patch = ThreadMetadataPatch(originator="b", creator_user_id="u")
    filled = patch.apply(_thread(originator="a"))
    assert (filled.originator, filled.creator_user_id) == ("a", "u")


def test_name_and_touch_are_no_facts() -> None:
    assert not ThreadMetadataPatch(name="a", updated_at=_NOW).has_facts()
    assert ThreadMetadataPatch(name="a", model="m").has_facts()


@pytest.mark.parametrize(
    "fields",
    [
        {"cwd": None},
        {"cwd": 5},
        {"history_mode": "new"},
        {"dynamic_tools": [1]},
        {"git": {"sha": "a"}},
    ],
)
def test_a_new_thread_of_a_wrong_type_cannot_be_made(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        NewThread(**{"cwd": "/a", **fields})


_SPAWN: SessionSource = {"subagent": {"thread_spawn": {"parent_thread_id": "p", "depth": 1}}}


@pytest.mark.parametrize(
    ("source", "kind", "parent"),
    [
        ("cli", "cli", None),
        ("VSCode", "unknown", None),
        ({"custom": "atlas"}, "custom", None),
        ({"internal": "guardian"}, "internal", None),
        ({"subagent": "review"}, "subagent_review", None),
        (_SPAWN, "subagent_thread_spawn", "p"),
        ({"subagent": {"other": "zzz"}}, "subagent_other", None),
        ({"subagent": {"new_kind": 1}}, "subagent_other", None),
        ({"subagent": 5}, "subagent_other", None),
        ({"weird": 1}, "unknown", None),
        ({}, "unknown", None),
    ],
)
def test_the_kind_and_parent_of_a_source(
    source: SessionSource, kind: str, parent: str | None
) -> None:
    assert source_kind(source) == kind
    assert is_subagent(source) is kind.startswith("subagent_")
    assert source_parent(source) == parent
