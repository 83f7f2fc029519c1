"""What the model is sent, folded from a history: pairs, compactions, rollbacks, real homes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from tests import golden_homes
from tests.history.scripts import compaction, histories, message, reasoning

from threadstore.factory import open_store
from threadstore.history.context import ContextFold, is_replacement, request_input
from threadstore.history.items import RolloutItem
from threadstore.history.rollback import removed_by_last_revert, surviving
from threadstore.history.turns import build_turns
from threadstore.metadata import TokenUsage
from threadstore.testing import items as make

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Json = dict[str, Any]

ROOT = "/root"
"""The path of the first agent (Codex)."""

CALL = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "done"}
ABORTED = {"type": "function_call_output", "call_id": "c", "output": "aborted"}
REASONING = {"type": "reasoning", "summary": [], "encrypted_content": "eA=="}
ASKED, SAID = message("user", "asked"), message("assistant", "said")


def _fold(items: Iterable[RolloutItem]) -> ContextFold:
    fold = ContextFold()
    for item in items:
        fold.feed(item)
    return fold


def test_the_context_is_what_the_model_was_told_and_said_without_ids() -> None:
    fold = _fold(
        [
            make.task_started("a"),
            make.turn_context(turn_id="a", model="m"),
            make.response("message", id="msg_1", role="user", content=ASKED["content"]),
            make.user_message("asked"),
            make.response("reasoning", id="rs_1", **REASONING | {"content": None}),
            make.response("function_call", id="fc_1", status="completed", **CALL),
            make.response("function_call_output", id="fco_1", **OUTPUT),
            make.token_count(TokenUsage(input_tokens=3, output_tokens=1)),
            make.assistant_response("said"),
            make.response("ghost_snapshot", ghost_commit={}),
            make.unknown_item(),
        ]
    )
    assert fold.items == [ASKED, REASONING, CALL, OUTPUT, SAID]
    assert (fold.model, fold.open_turn) == ("m", "a")
    assert fold.turn_context is fold.last_turn_context is not None
    assert fold.token_info is not None
    assert fold.token_info["total_token_usage"]["input_tokens"] == 3


def test_what_a_line_was_read_from_makes_no_difference() -> None:
    given = [make.task_started("a"), make.user_response("asked"), make.function_call("c", "f")]
    read = [RolloutItem.parse(item.encode("2026-01-01T00:00:00.000Z", 7)) for item in given]
    for position, item in enumerate(read):
        item.position = position + 40
    assert _fold(given).items == _fold(read).items


def test_a_compaction_leaves_what_it_says_and_the_context_has_to_be_told_anew() -> None:
    left = {**message("user", "summary"), "id": "msg_1"}
    fold = _fold([*make.turn("a", "asked"), compaction(left), make.assistant_response("said")])
    assert fold.items == [message("user", "summary"), SAID]
    assert fold.turn_context is None
    assert fold.last_turn_context is not None


def test_an_old_compaction_leaves_what_the_user_said_and_its_summary() -> None:
    environment = "<environment_context>\n<cwd>/a</cwd></environment_context>"
    items = [
        make.user_response(environment),
        *make.turn("a", "asked"),
        make.function_call("c", "f"),
        make.compacted("summary"),
        make.assistant_response("said"),
    ]
    assert _fold(items).items == [ASKED, message("user", "summary"), SAID]
    assert not is_replacement(items[-2])


def test_a_rollback_takes_back_a_compaction_and_the_settings_it_made_the_model_forget() -> None:
    first = make.turn("a", "one", model="m")
    second = [*make.turn("b", "two")[:-1], compaction(message("user", "summary"))]
    fold = _fold([*first, *second, make.thread_rolled_back(1)])
    assert fold.items == _fold(first).items
    assert fold.turn_context == first[1].payload
    assert fold.last_turn_context == second[1].payload
    assert fold.open_turn is None


def test_counters_and_limits_are_not_taken_back() -> None:
    usage = make.token_count(TokenUsage(input_tokens=5, output_tokens=1))
    limits = make.event("token_count", info=None, rate_limits={"primary": 1})
    fold = _fold([*make.turn("a", "one"), usage, limits, make.thread_rolled_back(1)])
    assert fold.items == []
    assert fold.token_info == usage.payload["info"]
    assert fold.rate_limits == {"primary": 1}


@pytest.mark.parametrize(
    ("events", "left_open"),
    [
        ([], None),
        ([make.task_started("a")], "a"),
        ([make.task_started("a"), make.task_complete("a")], None),
        ([make.task_started("a"), make.turn_aborted("a")], None),
        ([make.task_started("a"), make.event("turn_complete")], None),
        ([make.task_started("a"), make.task_complete("review")], None),
        ([make.task_started("a"), make.task_started("b"), make.task_complete("a")], "b"),
        ([make.task_started("a"), make.thread_rolled_back(0)], None),
    ],
)
def test_a_turn_is_open_until_it_ends(events: list[RolloutItem], left_open: str | None) -> None:
    assert _fold(events).open_turn == left_open


def test_a_word_between_agents_is_a_message_of_one() -> None:
    said = {"author": ROOT, "recipient": f"{ROOT}/a", "content": "psst", "trigger_turn": True}
    content = [{"type": "input_text", "text": "psst"}]
    expected = {"type": "agent_message", "author": ROOT, "recipient": f"{ROOT}/a"}
    fold = _fold([RolloutItem("inter_agent_communication", said)])
    assert fold.items == [{**expected, "content": content}]


@pytest.mark.parametrize("payload", [None, [], "x", {"type": []}, {"type": {}, "turn_id": []}])
@pytest.mark.parametrize(
    "kind", ["response_item", "compacted", "turn_context", "event_msg", "session_meta", "world"]
)
def test_lines_of_no_shape_cost_only_themselves(kind: str, payload: Any) -> None:
    fold = _fold([make.user_response("asked"), RolloutItem(kind, payload)])
    assert ASKED in fold.items
    assert request_input(fold.items)[0] == ASKED


def test_odd_ends_and_items_cost_only_themselves() -> None:
    odd = [
        make.event("task_complete", turn_id=["a"]),
        *(make.task_started("a"), make.event("error", codex_error_info=[])),
        make.event("token_count", info=3, rate_limits="x"),
        RolloutItem("compacted", {"replacement_history": [None, {"type": 3}, ASKED], "message": 4}),
        make.response("message", role="user"),
        RolloutItem("compacted", {"message": None}),
    ]
    assert _fold(odd).items == [ASKED, message("user", "")]


@pytest.mark.parametrize(
    ("items", "sent"),
    [
        ([CALL], [CALL, ABORTED]),
        ([CALL, OUTPUT], [CALL, OUTPUT]),
        ([CALL, SAID, OUTPUT], [CALL, SAID, OUTPUT]),
        ([OUTPUT, CALL], [CALL, ABORTED]),
        ([CALL, OUTPUT, OUTPUT], [CALL, OUTPUT]),
        ([CALL, OUTPUT, CALL], [CALL, OUTPUT, CALL, ABORTED]),
        ([CALL, CALL, OUTPUT], [CALL, ABORTED, CALL, OUTPUT]),
        ([{**OUTPUT, "type": "custom_tool_call_output"}, ASKED], [ASKED]),
        ([{"type": "function_call", "name": "f"}, ASKED], [ASKED]),
        ([{"type": "function_call_output", "output": "x"}, ASKED], [ASKED]),
        ([{"type": "of tomorrow"}, {"type": None}, {}, ASKED], [ASKED]),
        ([REASONING, CALL, OUTPUT], [REASONING, CALL, OUTPUT]),
        ([REASONING, REASONING, SAID], [REASONING, REASONING, SAID]),
        ([ASKED, REASONING], [ASKED]),
        ([REASONING, ASKED, SAID], [ASKED, SAID]),
        ([REASONING, {"type": "of tomorrow"}, SAID], [REASONING, SAID]),
    ],
)
def test_a_request_pairs_up(items: list[Json], sent: list[Json]) -> None:
    assert request_input(items) == sent


@pytest.mark.parametrize(
    ("call", "output"),
    [
        ({"type": "custom_tool_call"}, {"type": "custom_tool_call_output", "output": "aborted"}),
        ({"type": "local_shell_call"}, {"type": "function_call_output", "output": "aborted"}),
        (
            {"type": "tool_search_call"},
            {
                "type": "tool_search_output",
                "status": "completed",
                "execution": "client",
                "tools": [],
            },
        ),
    ],
)
def test_every_kind_of_call_has_its_own_output(call: Json, output: Json) -> None:
    call, output = {**call, "call_id": "c"}, {**output, "call_id": "c"}
    assert request_input([call, ASKED]) == [call, output, ASKED]
    assert request_input([call, ASKED, output]) == [call, ASKED, output]


def test_a_search_at_the_server_needs_no_output() -> None:
    search = [{"type": "tool_search_call", "execution": "server"}, {"type": "tool_search_output"}]
    assert request_input(search) == search


def test_calls_side_by_side_keep_their_order() -> None:
    calls = [{**CALL, "call_id": name} for name in "abc"]
    outputs = [{**OUTPUT, "call_id": name} for name in "ca"]
    stands_in = {**ABORTED, "call_id": "b"}
    expected = [calls[0], calls[1], stands_in, calls[2], *outputs]
    assert request_input([*calls, *outputs]) == expected


@given(histories())
def test_folding_is_the_same_as_folding_what_survived(items: list[RolloutItem]) -> None:
    whole, rest = _fold(items), _fold(surviving(items))
    assert whole.items == rest.items
    assert whole.turn_context == rest.turn_context
    assert not whole.stale


@given(histories())
def test_revert_and_redo_give_the_same_context(items: list[RolloutItem]) -> None:
    reverted = [*items, make.thread_rolled_back(2)]
    again = removed_by_last_revert(reverted)
    assert _fold([*reverted, *again]).items == _fold(items).items


@given(histories())
def test_a_request_can_be_sent_again_and_is_paired_up(items: list[RolloutItem]) -> None:
    sent = request_input(_fold(items).items)
    assert request_input(sent) == sent
    calls = sorted(item["call_id"] for item in sent if item["type"] == "function_call")
    outputs = sorted(item["call_id"] for item in sent if item["type"] == "function_call_output")
    assert calls == outputs
    assert not sent or sent[-1]["type"] != "reasoning"
    for item, following in itertools.pairwise(sent):
        if item["type"] == "reasoning":
            assert following["type"] in ("reasoning", "function_call") or following["role"] == (
                "assistant"
            )


@pytest.mark.parametrize("label", golden_homes.LABELS)
async def test_every_history_of_codex_gives_a_request(label: str, tmp_path: Path) -> None:
    golden = golden_homes.load(label)
    async with open_store(f"local:{golden.unpack(tmp_path)}") as store:
        for thread_id in sorted(golden.ids):
            items = (await store.load_history(thread_id)).items
            fold = _fold(items)
            assert fold.items == _fold(surviving(items)).items
            sent = request_input(fold.items)
            assert request_input(sent) == sent
            assert all("id" not in item for item in sent)
            _check_open_turn(golden.example(thread_id), fold, items)


def _check_open_turn(example: str, fold: ContextFold, items: tuple[RolloutItem, ...]) -> None:
    if example == "reviewed":  # the review's own turn never ends, but under the id of another
        assert fold.open_turn is None
        return
    turns = build_turns(items, open_status="in_progress")
    is_open = bool(turns) and turns[-1].status == "in_progress"
    assert fold.open_turn == (turns[-1].id if is_open else None)


def test_reasoning_as_codex_keeps_it_loses_only_its_empty_content() -> None:
    (item,) = _fold([reasoning()]).items
    assert item.keys() == {"type", "summary", "encrypted_content"}
