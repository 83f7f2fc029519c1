from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pytest
from tests.engine.tool_calls import Json, Owner, call_of, output_of

from threadstore.engine.tools import (
    AskUser,
    ClientTool,
    Tool,
    Toolbox,
    ToolCall,
    ToolContext,
    ToolOutput,
    tool,
)
from threadstore.errors import InvalidRequest


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("text", "text"),
        (None, ""),
        (3, "3"),
        (True, "true"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (Point(1), '{"x":1}'),
        ("half \ud83d of a pair", "half ? of a pair"),
    ],
)
async def test_results_become_text(result: Any, text: str) -> None:
    async def gives(value: Any = result) -> Any:
        return value

    expected = ToolOutput(output=text)
    assert await output_of(gives) == expected
    assert await output_of(tool(name="sync")(lambda: result)) == expected
    assert await output_of(tool(name="late")(lambda: gives(result))) == expected


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (b"bytes", "bytes, which are not text"),
        (object(), "no JSON form"),
        ((each for each in "ab"), "no JSON form"),
        (["\ud83d"], "no JSON form"),
        (ToolOutput(output=3), "an output must be text or a list, not int"),  # type: ignore[arg-type]
        (ToolOutput(output=[{"type": "output_text"}]), "input_text or input_image"),
        (ToolOutput(output=[{"type": "input_text"}]), "needs the text text"),
        (ToolOutput(output=[{"type": "input_image", "image_url": 1}]), "needs the text image_url"),
        (ToolOutput(output=["text"]), "no JSON form"),  # type: ignore[list-item]
    ],
)
async def test_results_that_a_model_cannot_read_are_errors(result: Any, says: str) -> None:
    output = await output_of(tool(name="gives")(lambda: result))
    assert not output.success
    assert isinstance(output.output, str)
    assert output.output.startswith("error: TypeError: ")
    assert says in output.output


async def test_a_tool_that_answers_with_no_output_is_an_error() -> None:
    class Careless(Tool):
        name = "careless"

        def spec(self) -> Json:
            return {"type": "function", "name": self.name}

        def run(self, call: ToolCall, context: ToolContext) -> Any:
            return asyncio.sleep(0, "text")

    output = await output_of(Careless())
    assert output.output == "error: TypeError: the tool must return a ToolOutput, not str"


async def test_a_text_of_50_megabytes_loses_its_middle_at_once() -> None:
    begin = time.process_time()
    output = await output_of(tool(name="big")(lambda: "äx" * 17_000_000), limit=64 * 1024)
    assert time.process_time() - begin < 2
    assert isinstance(output.output, str)
    assert output.output.startswith("äx")
    assert output.output.endswith("äx")
    assert "bytes or more left out" in output.output
    assert 65_000 < len(output.output.encode()) <= 64 * 1024


async def test_content_parts_keep_their_images_and_lose_text() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 4000}
    parts = [{"type": "input_text", "text": "a" * 900}, image]
    whole = ToolOutput(output=parts)
    assert await output_of(tool(name="parts")(lambda: whole)) == whole
    more = ToolOutput(output=[*parts, {"type": "input_text", "text": "b" * 900}], success=False)
    cut = await output_of(tool(name="parts")(lambda: more))
    assert isinstance(cut.output, list)
    text, kept = cut.output
    assert (kept, cut.success) == (image, False)
    assert text["text"].startswith("aaa")
    assert text["text"].endswith("bbb")
    assert len(text["text"].encode()) <= 1024


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("too big"), "ValueError: too big"),
        (ValueError(), "ValueError"),
        (KeyError("a"), "KeyError: 'a'"),
        (InvalidRequest("no"), "InvalidRequest: no"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError(), None),
        (TimeoutError("slow"), "TimeoutError: slow"),
        (StopIteration(3), "RuntimeError: coroutine raised StopIteration"),
        (Unspeakable(), "Unspeakable: <exception str() failed>"),
        (FileNotFoundError(2, "None", "/deep/in/x"), "FileNotFoundError: [Errno 2] None: 'x'"),
        (
            ExceptionGroup("both", [ValueError("a"), ExceptionGroup("in", [KeyError(1)])]),
            (
                "ExceptionGroup: both (2 sub-exceptions): ValueError: a; "
                "ExceptionGroup: in (1 sub-exception): KeyError: 1"
            ),
        ),
        (BaseExceptionGroup("b", [GeneratorExit()]), None),
        (ValueError("\ud800"), "ValueError: ?"),
    ],
)
async def test_what_a_tool_raises_is_told_to_the_model(
    error: BaseException, text: str | None
) -> None:
    @tool
    async def fails() -> None:
        raise error

    @tool(name="fails")
    def fails_in_thread() -> None:
        raise error

    for each in (fails, fails_in_thread):
        output = await output_of(each)
        assert not output.success
        assert isinstance(output.output, str)
        assert output.output.startswith("error: ")
        assert "Traceback" not in output.output
        if text is not None:
            assert output.output == f"error: {text}"


@pytest.mark.parametrize("in_thread", [False, True])
def test_an_interrupt_from_the_keyboard_goes_through(in_thread: bool) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    async def interrupted_async() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(output_of(interrupted if in_thread else interrupted_async))


async def test_an_unknown_tool_is_told_with_those_there_are() -> None:
    box = Toolbox([AskUser(), ClientTool({"name": "x", "namespace": "n"})])
    output = await box.run(call_of("x"), Owner())
    text = "error: no tool is named x; the tools are: request_user_input, n.x"
    assert output == ToolOutput(output=text, success=False)
    output = await Toolbox().run(call_of("y", namespace="n"), Owner())
    assert output.output == "error: no tool is named n.y; there are no tools"


async def test_arguments_that_do_not_fit_name_the_parameter() -> None:
    def add(a: int, b: int = 1) -> int:
        return a + b

    assert (await output_of(add, '{"a":1,"b":2}')).output == "3"
    output = await output_of(add, '{"a":"1"}')
    assert output == ToolOutput(
        output="error: the arguments do not fit add: Expected `int`, got `str` - at `$.a`; "
        "its parameters are `a` (required), `b`. Mend them and call it again.",
        success=False,
    )
