"""Token usage: lenient about everything but the numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.history.usage import UsageLedger, last_usage, total_usage
from threadstore.metadata import ThreadUsage, TokenUsage

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


# The ledger


def _tokens(given: int, made: int = 0) -> TokenUsage:
    return TokenUsage(input_tokens=given, output_tokens=made, total_tokens=given + made)


def _info(total: TokenUsage, last: TokenUsage | None = None) -> dict[str, Any]:
    info = {"total_token_usage": msgspec.to_builtins(total)}
    return info | ({} if last is None else {"last_token_usage": msgspec.to_builtins(last)})


ONE, TWO = _tokens(100, 10), _tokens(20, 5)
OVERFLOW = TokenUsage(total_tokens=258_400)


def _own(ledger: UsageLedger) -> dict[str, TokenUsage]:
    return {} if ledger.usage is None else ledger.usage.own


def test_nothing_was_used_before_the_first_response() -> None:
    ledger = UsageLedger()
    assert not ledger.observe(None, "m")
    assert not ledger.observe({"total_token_usage": 5}, "m")
    assert not ledger.observe(_info(OVERFLOW, OVERFLOW), "m")
    assert ledger.usage is None


def test_what_the_total_has_grown_by_counts_for_the_model_of_the_moment() -> None:
    ledger = UsageLedger()
    assert ledger.observe(_info(ONE), "m")
    assert ledger.observe(_info(ONE + TWO), "n")
    assert ledger.observe(_info(ONE + TWO + TWO), None)
    assert _own(ledger) == {"m": ONE, "n": TWO, "unknown": TWO}
    assert ledger.total == ONE + TWO + TWO


def test_a_repeated_total_adds_nothing_whatever_the_last_response_is_said_to_be() -> None:
    ledger = UsageLedger()
    ledger.observe(_info(ONE, ONE), "m")
    assert not ledger.observe(_info(ONE, ONE), "m")
    assert not ledger.observe(_info(ONE, TokenUsage(total_tokens=183)), "m")
    assert _own(ledger) == {"m": ONE}


def test_an_overflow_adds_nothing_and_responses_after_it_count() -> None:
    ledger = UsageLedger()
    ledger.observe(_info(ONE, ONE), "m")
    left = TokenUsage(total_tokens=258_400 - 110)
    assert not ledger.observe(_info(OVERFLOW, left), "m")
    assert not ledger.observe(_info(OVERFLOW, left), "m")
    assert ledger.observe(_info(OVERFLOW + TWO, TWO), "m")
    assert _own(ledger) == {"m": ONE + TWO}


def test_a_usage_record_after_an_overflow_counts_its_response_alone() -> None:
    """The total of the record knows nothing of the overflow (0.169)."""
    ledger = UsageLedger()
    ledger.observe(_info(ONE, ONE), "m")
    ledger.observe(_info(OVERFLOW), "m")
    ledger.record(
        {"usage": msgspec.to_builtins(TWO), "thread_token_usage": msgspec.to_builtins(ONE + TWO)},
        "m",
    )
    ledger.observe(_info(OVERFLOW + TWO, TWO), "m")
    assert _own(ledger) == {"m": ONE + TWO}


@pytest.mark.parametrize("first", [_tokens(30, 3), _tokens(130, 13)])
def test_a_total_that_was_begun_anew_is_that_of_the_response(first: TokenUsage) -> None:
    """Codex 0.57 to 0.77 forgot the total when it resumed a thread."""
    ledger = UsageLedger()
    ledger.observe(_info(ONE, ONE), "m")
    ledger.observe(_info(first, first), "m")
    ledger.observe(_info(first + TWO, TWO), "m")
    assert _own(ledger) == {"m": ONE + first + TWO}


def test_a_response_that_was_booked_adds_nothing_when_its_line_comes() -> None:
    ledger = UsageLedger()
    ledger.book(ONE, "m")
    assert not ledger.observe(_info(ONE, ONE), "m")
    ledger.book(TWO, "m")
    assert not ledger.record(
        {"usage": msgspec.to_builtins(TWO), "thread_token_usage": msgspec.to_builtins(ONE + TWO)},
        "m",
    )
    assert not ledger.observe(_info(ONE + TWO, TWO), "m")
    assert _own(ledger) == {"m": ONE + TWO}


def test_a_ledger_goes_on_from_stored_metadata() -> None:
    before = UsageLedger()
    before.book(ONE, "m", inherited=True)
    before.book(TWO, "m")
    for total in (before.total, None, TokenUsage(total_tokens=135)):
        ledger = UsageLedger(before.usage, total)
        assert ledger.total == ONE + TWO
        ledger.observe(_info(ONE + TWO + TWO, TWO), "m")
        assert ledger.usage == ThreadUsage(own={"m": TWO + TWO}, inherited={"m": ONE})


def test_a_total_without_usage_is_where_counting_begins() -> None:
    ledger = UsageLedger(None, ONE)
    ledger.observe(_info(ONE + TWO, TWO), "m")
    assert _own(ledger) == {"m": TWO}


def test_of_a_history_that_is_lost_only_the_last_response_is_known() -> None:
    ledger = UsageLedger(goes_on=True)
    ledger.observe(_info(ONE + TWO, TWO), "m")
    ledger.observe(_info(ONE + TWO + TWO, TWO), "m")
    assert _own(ledger) == {"m": TWO + TWO}

    ledger = UsageLedger(goes_on=True)
    ledger.record(
        {"usage": msgspec.to_builtins(TWO), "thread_token_usage": msgspec.to_builtins(ONE + TWO)},
        "m",
    )
    ledger.observe(_info(ONE + TWO, TWO), "m")
    assert _own(ledger) == {"m": TWO}


def test_counters_of_no_sense_never_grow_beyond_what_json_holds() -> None:
    ledger = UsageLedger()
    for made in (10**30, -5, 1 << 53, 7, 1 << 53, 8, 1 << 53):
        ledger.observe(_info(_tokens(0, made), _tokens(0, made)), "m")
    assert ledger.usage is not None
    assert msgspec.json.decode(msgspec.json.encode(ledger.usage), type=ThreadUsage) == ledger.usage
    assert _own(ledger)["m"].output_tokens == 1 << 53


@given(
    st.lists(
        st.tuples(st.integers(1, 99), st.integers(1, 99), st.sampled_from("mn"), st.booleans()),
        max_size=8,
    ),
    st.data(),
)
def test_booking_and_lines_come_to_the_same_however_they_are_mixed(
    responses: list[tuple[int, int, str, bool]], data: st.DataObject
) -> None:
    """Some responses are booked first, some totals are repeated, some lines are never written."""
    ledger, expected = UsageLedger(), dict[str, TokenUsage]()
    total = TokenUsage()
    for index, (given_, made, model, booked) in enumerate(responses):
        usage = _tokens(given_, made)
        total += usage
        expected[model] = expected.get(model, TokenUsage()) + usage
        if booked:
            ledger.book(usage, model)
            ledger = UsageLedger(ledger.usage, ledger.total)
        if not booked or index + 1 == len(responses) or data.draw(st.booleans()):
            for _ in range(data.draw(st.integers(1, 2))):
                ledger.observe(_info(total, usage), model)
    assert _own(ledger) == expected
    assert (ledger.usage or ThreadUsage()).total == total
