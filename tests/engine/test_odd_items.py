"""Items of an odd shape, from a model or from whoever injects them."""

from __future__ import annotations

from typing import Any

import pytest

from threadstore.engine.outputs import check_injected
from threadstore.errors import InvalidRequest

Json = dict[str, Any]

TEXT: Json = {"type": "input_text", "text": "hi"}


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("text", "an object with a type"),
        ({"type": ["message"]}, "an object with a type"),
        ({"type": "message", "content": [TEXT]}, "no role of a message: None"),
        ({"type": "message", "role": ["user"], "content": [TEXT]}, "no role"),
        ({"type": "message", "role": "tool", "content": "x"}, "no role"),
        ({"type": "message", "role": "user"}, "content of an item of type message"),
        ({"type": "message", "role": "user", "content": 3}, "content of"),
        ({"type": "message", "role": "user", "content": ["hi"]}, "content of"),
        ({"type": "message", "role": "user", "content": [{"text": "hi"}]}, "content of"),
        ({"type": "reasoning", "content": [TEXT]}, "summary of"),
        ({"type": "reasoning", "summary": [], "content": 3}, "content of"),
        ({"type": "function_call", "call_id": "c", "name": "n"}, "the text arguments"),
        ({"type": "function_call", "call_id": "c", "name": "n", "arguments": {}}, "arguments"),
        ({"type": "function_call", "name": "n", "arguments": ""}, "the text call_id"),
        ({"type": "function_call", "call_id": "c", "arguments": ""}, "the text name"),
        ({"type": "custom_tool_call", "call_id": "c", "name": "n"}, "the text input"),
        ({"type": "function_call_output", "output": "x"}, "the text call_id"),
        ({"type": "function_call_output", "call_id": "c"}, "output of"),
        ({"type": "custom_tool_call_output", "call_id": "c", "output": {}}, "output of"),
    ],
)
def test_an_item_that_no_request_could_carry_is_not_injected(item: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check_injected(item)


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "user", "content": "hi"},
        {"type": "message", "role": "developer", "content": [TEXT], "id": "m"},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "x"},
        {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [TEXT]},
        {"type": "custom_tool_call", "call_id": "c", "name": "n", "input": ""},
        {"type": "web_search_call", "status": "completed"},
        {"type": "of_the_future"},
    ],
)
def test_an_item_of_the_api_is_injected_and_an_unknown_kind_let_pass(item: Json) -> None:
    check_injected(item)
