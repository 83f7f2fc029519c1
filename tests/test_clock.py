"""Times: what rollouts write, and every form in which they are read."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.clock import UTC, SystemClock, from_ms, parse_timestamp, rfc3339_ms, to_ms

_moments = st.datetimes(
    min_value=dt.datetime(1971, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=dt.datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(_moments)
def test_a_written_timestamp_is_read_back_to_the_millisecond(moment: dt.datetime) -> None:
    text = rfc3339_ms(moment)
    assert parse_timestamp(text) == from_ms(to_ms(moment))
    assert len(text) == len("2026-11-22T05:42:54.452Z")


@given(st.integers(-(10**13), 10**13))
def test_milliseconds_survive_the_way_through_a_datetime(ms: int) -> None:
    assert to_ms(from_ms(ms)) == ms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T05:42:54.452Z", "2026-11-22T05:42:54.452Z"),
        ("2026-11-22T05:42:54Z", "2026-11-22T05:42:54.000Z"),
        ("2026-11-22T05:42:55.72114825Z", "2026-11-22T05:42:55.721Z"),
        ("2026-11-22T00:42:54-05:00", "2026-11-22T05:42:54.000Z"),
        ("2026-11-22T05:42:54", "2026-11-22T05:42:54.000Z"),
        ("2026-11-22T05-42-54", "2026-11-22T05:42:54.000Z"),
    ],
)
def test_every_form_of_a_timestamp_is_read_as_utc(text: str, expected: str) -> None:
    moment = parse_timestamp(text)
    assert moment is not None
    assert rfc3339_ms(moment) == expected


@pytest.mark.parametrize(
    "value",
    [
        "whenever",
        "",
        "2026-13-01T00:00:00Z",
        "2026-02-30T05-42-54",
        "0001-01-01T00:00:00+14:00",
        5,
        None,
    ],
)
def test_what_is_no_timestamp_is_none_and_never_an_error(value: object) -> None:
    assert parse_timestamp(value) is None


def test_the_system_clock_tells_aware_utc_and_never_runs_backwards() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == dt.timedelta(0)
    assert clock.monotonic() <= clock.monotonic()
