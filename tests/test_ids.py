"""Thread ids: every spelling is read, one is written, new ones sort by time."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.errors import InvalidRequest
from threadstore.ids import (
    id_range,
    new_thread_id,
    parse_id_prefix,
    parse_thread_id,
    try_thread_id,
)


@given(st.uuids())
def test_every_spelling_of_an_id_is_read_as_the_hyphenated_lower_case_one(value: uuid.UUID) -> None:
    canonical = str(value)
    for spelling in (canonical.upper(), value.hex, f"{{{canonical}}}", value.urn):
        assert parse_thread_id(spelling) == canonical


@pytest.mark.parametrize(
    "text", ["", "abc", "01a201e5-a996-7a61-8db2-c256091e893", "../etc/passwd"]
)
def test_what_is_no_uuid_is_refused_with_a_hint(text: str) -> None:
    assert try_thread_id(text) is None
    with pytest.raises(InvalidRequest) as caught:
        parse_thread_id(text)
    assert caught.value.hint is not None


@given(st.text(max_size=50))
def test_no_text_makes_parsing_fail_in_another_way(text: str) -> None:
    parsed = try_thread_id(text)
    assert parsed is None or try_thread_id(parsed) == parsed


@given(st.uuids(), st.integers(1, 32), st.uuids())
def test_every_spelling_of_a_beginning_means_the_ids_that_begin_so(
    value: uuid.UUID, digits: int, other: uuid.UUID
) -> None:
    prefix = parse_id_prefix(value.hex[:digits].upper())
    assert str(value).startswith(prefix)
    assert parse_id_prefix(str(value)[: len(prefix)]) == prefix
    lowest, highest = id_range(prefix)
    assert lowest <= str(value) <= highest
    assert (lowest <= str(other) <= highest) is str(other).startswith(prefix)


@pytest.mark.parametrize("text", ["", "-", "0x1", "01a2 ", "g", "%", "١", "0" * 33])
def test_what_no_id_begins_with_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_id_prefix(text)
    assert caught.value.hint is not None


def test_new_ids_are_version_seven_distinct_and_increasing() -> None:
    made = [new_thread_id() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {uuid.UUID(thread_id).version for thread_id in made} == {7}
    assert {uuid.UUID(thread_id).variant for thread_id in made} == {uuid.RFC_4122}
