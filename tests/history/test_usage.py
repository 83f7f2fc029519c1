"""Token usage: lenient about everything but the numbers."""

from __future__ import annotations

from typing import Any

import pytest

from threadstore.history.usage import last_usage, total_usage
from threadstore.metadata import TokenUsage

_COUNTERS = {
    "input_tokens": 5,
    "cached_input_tokens": 4,
    "cache_write_input_tokens": 9,
    "output_tokens": 3,
    "reasoning_output_tokens": 2,
    "total_tokens": 8,
}


def test_totals_and_last_response_are_read_from_one_event() -> None:
    payload = {"info": {"total_token_usage": _COUNTERS, "last_token_usage": {"total_tokens": 1}}}
    assert total_usage(payload) == TokenUsage(
        input_tokens=5,
        cached_input_tokens=4,
        output_tokens=3,
        reasoning_output_tokens=2,
        total_tokens=8,
    )
    assert last_usage(payload) == TokenUsage(total_tokens=1)


@pytest.mark.parametrize(
    "payload", [None, 5, {}, {"info": None}, {"info": {}}, {"info": {"total_token_usage": []}}]
)
def test_an_event_without_counters_has_no_usage(payload: Any) -> None:
    assert total_usage(payload) is None


def test_a_counter_of_a_wrong_type_counts_nothing() -> None:
    counters = {"input_tokens": "5", "output_tokens": True, "total_tokens": 8}
    assert total_usage({"info": {"total_token_usage": counters}}) == TokenUsage(total_tokens=8)
