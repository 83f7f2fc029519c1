"""Queries are checked when made; cursors belong to one query."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.clock import UTC
from threadstore.errors import InvalidRequest
from threadstore.ids import new_thread_id
from threadstore.metadata import SessionSource, StoredThread
from threadstore.queries import (
    SortKey,
    ThreadQuery,
    check_limit,
    decode_cursor,
    encode_cursor,
    matches_source,
)

_NOW = dt.datetime(2026, 11, 22, tzinfo=UTC)


def _thread(**fields: Any) -> StoredThread:
    base: dict[str, Any] = {
        "id": new_thread_id(),
        "created_at": _NOW,
        "updated_at": _NOW,
        "recency_at": _NOW,
        "model_provider": "openai",
    }
    return StoredThread(**{**base, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": True},
        {"limit": 10_001},
        {"limit": "5"},
        {"sort_key": "created"},
        {"archived": "yes"},
        {"cwds": ["a", 1]},
        {"cwds": "abc"},
        {"parent_id": "not-an-id"},
        {"ancestor_id": "x"},
        {"id_prefix": "not-hex"},
        {"id_prefix": ""},
        {"id_prefix": 5},
        {"search_term": 5},
        {"cursor": 5},
    ],
)
def test_a_bad_query_is_refused_when_it_is_made(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        ThreadQuery(**fields)


@pytest.mark.parametrize("limit", [1, 25, 10_000])
def test_limits_from_one_to_ten_thousand_are_fine(limit: int) -> None:
    check_limit(limit)
    assert ThreadQuery(limit=limit).limit == limit


_places = st.lists(st.integers(-(2**60), 2**60) | st.text(max_size=40) | st.booleans(), max_size=4)


@given(st.text(max_size=60), _places)
def test_a_cursor_gives_its_place_back_to_the_same_query(query: str, place: list[Any]) -> None:
    cursor = encode_cursor("threads", query, *place)
    assert decode_cursor("threads", query, cursor) == place
    assert cursor.isascii()
    assert "=" not in cursor


@given(st.text(max_size=20), st.text(max_size=20), _places)
def test_a_cursor_of_another_query_or_listing_is_refused(
    mine: str, other: str, place: list[Any]
) -> None:
    cursor = encode_cursor("turns", mine, *place)
    with pytest.raises(InvalidRequest):
        decode_cursor("items", mine, cursor)
    if other != mine:
        with pytest.raises(InvalidRequest):
            decode_cursor("turns", other, cursor)


@given(st.text(max_size=100))
def test_any_other_text_is_an_invalid_cursor(text: str) -> None:
    with pytest.raises(InvalidRequest):
        decode_cursor("threads", "query", text)


def test_a_cursor_that_nests_without_end_is_an_invalid_cursor() -> None:
    body = "W" * 40_000  # base64 of many opening brackets
    with pytest.raises(InvalidRequest):
        decode_cursor("threads", "query", body)


def test_the_fingerprint_names_order_and_filters_but_not_the_page() -> None:
    base = ThreadQuery()
    assert base.fingerprint() == ThreadQuery(limit=3, cursor="x").fingerprint()
    different = [
        ThreadQuery(sort_key=SortKey.CREATED),
        ThreadQuery(descending=False),
        ThreadQuery(archived=None),
        ThreadQuery(cwds=()),
        ThreadQuery(cwds=("/a",)),
        ThreadQuery(model_providers=("/a",)),
        ThreadQuery(search_term="a"),
        ThreadQuery(id_prefix="a"),
        ThreadQuery(name="a"),
        ThreadQuery(only_displayable=True),
    ]
    assert len({query.fingerprint() for query in [base, *different]}) == len(different) + 1


_SPAWN: SessionSource = {"subagent": {"thread_spawn": {"parent_thread_id": new_thread_id()}}}


@pytest.mark.parametrize(
    ("source", "words", "expected"),
    [
        ("cli", ("cli",), True),
        ("cli", ("vscode", "exec"), False),
        ("cli", (), False),
        ({"custom": "atlas"}, ("custom",), True),
        ({"custom": "atlas"}, ("custom:atlas",), True),
        ({"custom": "atlas"}, ("custom:other",), False),
        ({"subagent": "review"}, ("subagent",), True),
        ({"subagent": "review"}, ("subagent_review",), True),
        (_SPAWN, ("subagent_thread_spawn",), True),
        (_SPAWN, ("subagent_review",), False),
        ({"subagent": {"other": "x"}}, ("subagent_other",), True),
        ({"internal": "guardian"}, ("internal",), True),
        ("martian", ("unknown",), True),
    ],
)
def test_sources_are_matched_by_kind(
    source: SessionSource, words: tuple[str, ...], expected: bool
) -> None:
    assert matches_source(_thread(source=source), words) is expected


def test_filters_look_at_the_thread_and_an_empty_list_matches_nothing() -> None:
    thread = _thread(cwd="/a", name="Zürich 100%", preview="hello")
    assert ThreadQuery().matches(thread)
    assert ThreadQuery(cwds=("/a",)).matches(thread)
    assert not ThreadQuery(cwds=()).matches(thread)
    assert not ThreadQuery(model_providers=()).matches(thread)
    assert not ThreadQuery(sources=()).matches(thread)
    assert not ThreadQuery(archived=True).matches(thread)
    assert not ThreadQuery(exclude_sources=("unknown",)).matches(thread)
    assert not ThreadQuery(only_displayable=True).matches(_thread())


@pytest.mark.parametrize(
    ("term", "found"),
    [("zürich", True), ("ZÜRICH", True), ("HELLO", True), ("%", True), ("_", False)],
)
def test_a_search_ignores_letter_case_and_knows_no_wildcards(term: str, found: bool) -> None:
    thread = _thread(name="Zürich 100%", preview="hello")
    assert ThreadQuery(search_term=term).matches(thread) is found


def test_lists_are_as_good_as_tuples() -> None:
    given: Any = ["a", "b"]
    query = ThreadQuery(cwds=given, sources=given, exclude_sources=given, model_providers=given)

    expected = ("a", "b")
    assert query.cwds == query.sources == query.exclude_sources == query.model_providers == expected
    assert (
        query.fingerprint()
        == ThreadQuery(
            cwds=expected, sources=expected, exclude_sources=expected, model_providers=expected
        ).fingerprint()
    )
