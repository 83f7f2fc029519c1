from __future__ import annotations

import functools
from typing import Any

import msgspec
import pytest
from tests.engine.tool_calls import Json, Owner, call_of, output_of

from threadstore.engine.tools import (
    AskUser,
    ClientTool,
    Toolbox,
    ToolOutput,
    aborted,
    as_tool,
    tool,
)
from threadstore.errors import InvalidRequest


def test_a_function_is_offered_with_its_docstrings_first_paragraph() -> None:
    @tool(timeout=5, parallel=False)
    def add(a: int, b: int = 1) -> int:
        """Adds two numbers,
        exactly.

        Nobody needs to know how.
        """
        return a + b

    assert add.spec() == {
        "type": "function",
        "name": "add",
        "description": "Adds two numbers, exactly.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 1}},
            "required": ["a"],
            "additionalProperties": False,
        },
        "strict": False,
    }
    assert (add.timeout, add.parallel) == (5, False)
    assert add(2, b=3) == 5


def test_objects_that_can_be_called_are_named_after_their_class() -> None:
    class Search:
        """Searches everything."""

        def __call__(self, query: str, limit: int = 1) -> str:
            return query * limit

        def deep(self, query: str) -> str:
            """Searches deeper."""
            return query

    for each in (Search(), functools.partial(Search(), limit=2)):
        spec = as_tool(each).spec()
        assert (spec["name"], spec["description"]) == ("Search", "Searches everything.")
    spec = as_tool(Search().deep).spec()
    assert (spec["name"], spec["description"]) == ("deep", "Searches deeper.")


def print_nothing() -> None: ...


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(InvalidRequest, match="lambda") as caught:
        as_tool(lambda: None)
    assert "name" in str(caught.value.hint)
    with pytest.raises(InvalidRequest, match="cannot name a tool"):
        tool(name="")(print_nothing)
    assert tool(name="nothing", description="Does nothing.")(lambda: None).name == "nothing"


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 65, "a\n", "a.b"])
def test_names_that_the_responses_api_refuses_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot name a tool"):
        ClientTool({"name": name})
    with pytest.raises(InvalidRequest, match="cannot name a tool"):
        ClientTool({"name": "fine", "namespace": name})


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "1"])
def test_a_time_out_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(InvalidRequest, match="time-out of nothing"):
        tool(name="nothing", timeout=timeout)(lambda: None)


@pytest.mark.parametrize("thing", [3, "name", None, AskUser, dict])
def test_what_cannot_be_called_is_no_tool(thing: Any) -> None:
    with pytest.raises(InvalidRequest, match="callable or a Tool"):
        as_tool(thing)


def test_two_tools_of_one_name_are_refused_unless_namespaces_tell_them_apart() -> None:
    plain, spaced = ClientTool({"name": "x"}), ClientTool({"name": "x", "namespace": "n"})
    assert len(Toolbox([plain, spaced]).specs()) == 2
    with pytest.raises(InvalidRequest, match=r"two tools are named n\.x"):
        Toolbox([spaced, plain, spaced])


def test_tools_of_a_namespace_are_offered_together_by_name() -> None:
    schema = {"type": "object", "properties": {}}
    tools = [
        ClientTool({"namespace": "shop", "name": "find", "inputSchema": schema}),
        ClientTool({"name": "plain", "input_schema": schema}),
        ClientTool({"namespace": "shop", "name": "buy", "parameters": schema}),
    ]

    def function(name: str) -> Json:
        empty = {"description": "", "parameters": schema, "strict": False}
        return {"type": "function", "name": name, **empty}

    assert Toolbox(tools).specs() == (
        {
            "type": "namespace",
            "name": "shop",
            "description": "Tools in the shop namespace.",
            "tools": [function("buy"), function("find")],
        },
        function("plain"),
    )


@pytest.mark.parametrize(
    "spec",
    [
        [],
        {"type": "namespace", "name": "x"},
        {"name": "x", "inputSchema": []},
        {"name": "x", "description": 3},
    ],
)
def test_specs_of_a_client_that_are_none_are_refused(spec: Any) -> None:
    with pytest.raises(InvalidRequest):
        ClientTool(spec)


@pytest.mark.parametrize("limit", [0, 255, "1024", None])
def test_a_limit_leaves_room_for_a_message(limit: Any) -> None:
    with pytest.raises(InvalidRequest, match="output_limit"):
        Toolbox(output_limit=limit)


async def test_the_user_is_asked_and_the_answers_go_to_the_model() -> None:
    owner = Owner()
    question = {
        "id": "sure",
        "header": "Sure?",
        "question": "Are you sure?",
        "options": [{"label": "Yes", "description": "Go on."}],
    }
    arguments = msgspec.json.encode({"questions": [{**question, "unknown": 1}]}).decode()
    output = await Toolbox([AskUser()]).run(call_of("request_user_input", arguments), owner)
    assert output == ToolOutput(output='{"answers":{"sure":{"answers":["yes"]}}}')
    assert owner.questions == [{**question, "isOther": True, "isSecret": False}]


@pytest.mark.parametrize("arguments", ["", '{"questions":[]}', '{"questions":[{"id":"a"}]}', "["])
async def test_a_question_that_is_none_goes_back_to_the_model(arguments: str) -> None:
    output = await output_of(AskUser(), arguments)
    assert not output.success
    assert "the arguments do not fit request_user_input" in str(output.output)


def test_the_question_tool_has_the_schema_of_codex() -> None:
    parameters = AskUser().spec()["parameters"]
    assert parameters["required"] == ["questions"]
    assert parameters["additionalProperties"] is False
    question = parameters["properties"]["questions"]["items"]
    assert question["required"] == ["id", "header", "question", "options"]
    assert question["properties"]["options"]["items"]["required"] == ["label", "description"]


async def test_a_clients_tool_goes_out_and_comes_back() -> None:
    owner = Owner()
    box = Toolbox([ClientTool({"name": "find", "namespace": "shop"})])
    output = await box.run(call_of("find", '{"q": 1}', "shop"), owner)
    assert output == ToolOutput(output='find was told {"q": 1}')
    assert (await box.run(call_of("find", " ", "shop"), owner)).output == "find was told {}"
    for arguments in ("[1", "[1]"):
        assert not (await box.run(call_of("find", arguments, "shop"), owner)).success
    assert len(owner.calls) == 2


def test_an_aborted_call_is_told_in_the_words_of_codex() -> None:
    assert aborted(0.94) == "aborted by user after 0.9s"
    assert aborted(0) == "aborted by user after 0.1s"
    assert aborted(61.25) == "aborted by user after 61.2s"
