from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from threadstore.engine.tool_schema import BadArguments, Parameters, underlying
from threadstore.errors import InvalidRequest


class Marker:
    """What is filled in and never asked for."""


class Place(msgspec.Struct):
    name: str
    height: int = 0


@dataclass
class Step:
    action: Literal["go", "stay"]


class Options(TypedDict, total=False):
    deep: bool


class Node(msgspec.Struct):
    value: int
    children: list[Node] = []


class Square(msgspec.Struct, tag="square"):
    side: float


class Circle(msgspec.Struct, tag="circle"):
    radius: float


def parameters(function: Any) -> Parameters:
    return Parameters(function, injected=Marker)


def decoded(function: Any, arguments: str) -> Any:
    positions, keywords = parameters(function).decode(arguments, Marker())
    return function(*positions, **keywords)


def test_an_object_with_the_required_parameters_and_nothing_else() -> None:
    def find(
        query: Annotated[str, msgspec.Meta(description="What to look for.")],
        kind: Literal["a", "b"] = "a",
        limits: list[int] | None = None,
        deep: bool = False,
    ) -> None: ...

    assert parameters(find).schema == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for."},
            "kind": {"enum": ["a", "b"], "default": "a"},
            "limits": {
                "anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]
            },
            "deep": {"type": "boolean", "default": False},
        },
        "required": ["query"],
        "additionalProperties": False,
    }


def test_a_function_without_parameters() -> None:
    def now() -> None: ...

    assert parameters(now).schema["properties"] == {}
    assert parameters(now).decode("", Marker()) == ([], {})


def test_structs_dataclasses_and_typed_dicts_are_written_out() -> None:
    def visit(place: Place, steps: list[Step], options: Options) -> Any:
        return place, steps, options

    properties = parameters(visit).schema["properties"]
    assert properties["place"]["properties"]["height"] == {"type": "integer", "default": 0}
    assert properties["steps"]["items"]["properties"] == {"action": {"enum": ["go", "stay"]}}
    assert properties["options"]["properties"] == {"deep": {"type": "boolean"}}
    assert "$defs" not in parameters(visit).schema
    arguments = '{"place":{"name":"x"},"steps":[{"action":"go"}],"options":{"deep":true}}'
    assert decoded(visit, arguments) == (Place("x"), [Step("go")], {"deep": True})


def test_a_type_that_contains_itself_is_referred_to() -> None:
    def walk(root: Node, other: Node) -> Any:
        return root, other

    schema = parameters(walk).schema
    assert schema["properties"]["root"] == {"$ref": "#/$defs/Node"}
    children = schema["$defs"]["Node"]["properties"]["children"]
    assert children == {"type": "array", "items": {"$ref": "#/$defs/Node"}, "default": []}
    arguments = '{"root":{"value":1,"children":[{"value":2}]},"other":{"value":3}}'
    assert decoded(walk, arguments) == (Node(1, [Node(2)]), Node(3))


def test_tagged_structs_are_alternatives() -> None:
    def draw(shape: Square | Circle) -> Any:
        return shape

    shape = parameters(draw).schema["properties"]["shape"]
    assert [each["properties"]["type"] for each in shape["anyOf"]] == [
        {"enum": ["square"]},
        {"enum": ["circle"]},
    ]
    assert "discriminator" not in shape
    assert decoded(draw, '{"shape":{"type":"circle","radius":2}}') == Circle(2)


def test_names_that_schemas_use_themselves_are_names_like_others() -> None:
    def odd(discriminator: int, properties: dict[str, int], title: str, default: int = 3) -> Any:
        return discriminator, properties, title, default

    schema = parameters(odd).schema
    assert list(schema["properties"]) == ["discriminator", "properties", "title", "default"]
    assert decoded(odd, '{"discriminator":1,"properties":{"a":2},"title":""}') == (
        1,
        {"a": 2},
        "",
        3,
    )


def test_a_parameter_without_annotation_takes_any_value() -> None:
    def keep(value, more=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return value, more

    assert parameters(keep).schema["properties"] == {"value": {}, "more": {}}
    assert decoded(keep, '{"value":[1,{"a":null}]}') == ([1, {"a": None}], None)


def test_types_of_the_function_around_are_found() -> None:
    class Point(msgspec.Struct):
        x: int

    def move(to: Point, *, by: list[Point] | None = None) -> Any:
        return to, by

    assert decoded(move, '{"to":{"x":1},"by":[{"x":2}]}') == (Point(1), [Point(2)])


def test_a_type_that_is_nowhere_at_run_time_is_refused() -> None:
    def lost(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidRequest, match="Nowhere") as caught:
        parameters(lost)
    assert caught.value.hint is not None


def test_the_return_type_need_not_be_known() -> None:
    def lost(value: int) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
        return value

    assert decoded(lost, '{"value":1}') == 1


def test_defaults_of_any_kind_stay_the_callables_own() -> None:
    shared: list[int] = [1, 2]

    def defaults(a: list[int] = shared, b: Any = ..., c: float = float("nan")) -> Any:
        return a, b

    assert decoded(defaults, "{}") == (shared, ...)
    assert decoded(defaults, "{}")[0] is shared
    assert "default" not in parameters(defaults).schema["properties"]["c"]


def test_methods_partials_wrappers_and_objects_that_can_be_called() -> None:
    class Counter:
        def __init__(self, start: int) -> None:
            self.start = start

        def add(self, number: int) -> int:
            return self.start + number

        def __call__(self, number: int, times: int = 1) -> int:
            return self.start + number * times

        @classmethod
        def zero(cls, number: int) -> int:
            return number

        @staticmethod
        def one(number: int) -> int:
            return number + 1

    @functools.wraps(Counter.one)
    def wrapped(*args: Any, **kwargs: Any) -> int:
        return Counter.one(*args, **kwargs)

    counter = Counter(10)
    partial = functools.partial(counter, times=3)
    callables = [counter.add, counter, Counter.zero, Counter.one, wrapped, partial]
    assert [decoded(each, '{"number":4}') for each in callables] == [14, 14, 4, 5, 5, 22]
    assert list(parameters(partial).schema["properties"]) == ["number"]
    assert underlying(partial) is Counter.__call__
    with pytest.raises(BadArguments, match="times"):
        decoded(partial, '{"number":4,"times":5}')


def test_parameters_by_position_only_are_named_all_the_same() -> None:
    def divide(a: int, b: int = 2, /, *, c: int = 0) -> float:
        return a / b + c

    assert decoded(divide, '{"a":8}') == 4
    assert decoded(divide, '{"c":1,"b":4,"a":8}') == 3
    assert decoded(len, '{"obj":[1,2]}') == 2


def test_an_injected_parameter_is_not_in_the_schema() -> None:
    def use(
        marker: Marker,
        /,
        text: str,
        other: Marker | None = None,
        last: Annotated[Marker, 1] = ...,  # type: ignore[assignment]
    ) -> Any:
        return [isinstance(each, Marker) for each in (marker, other, last)]

    assert list(parameters(use).schema["properties"]) == ["text"]
    assert decoded(use, '{"text":""}') == [True, True, True]
    with pytest.raises(BadArguments, match="marker"):
        decoded(use, '{"text":"","marker":{}}')


class Unknown:
    def method(self, number: int) -> None: ...


def many(*numbers: int) -> None: ...


def named(**options: int) -> None: ...


def foreign(thing: int, other: list[Unknown]) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (many, r"\*numbers"),
        (named, r"\*\*options"),
        (foreign, "parameter other has no JSON Schema"),
        (Unknown.method, "without its object"),
        (min, "signature"),
    ],
)
def test_what_no_schema_can_say_is_refused(function: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        parameters(function)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "`place`.*its parameters are `place` .required., `times`"),
        ("{}", "`place`"),
        ('{"place":{"name":1}}', r"Expected `str`, got `int` - at `\$.place.name`"),
        ('{"place":{"name":"x"},"times":"3"}', r"`\$.times`"),
        ('{"place":{"name":"x"},"times":true}', r"`\$.times`"),
        ('{"place":{"name":"x"},"tims":3}', "`tims`"),
        ("[]", "Expected `object`, got `array`"),
        ("null", "Expected `object`, got `null`"),
        ('{"place":', "truncated"),
        ('{"place":{"name":"\ud800"}}', "surrogates"),
        ("nonsense", "malformed"),
        ('{"place":' + "[" * 100_000, "`object`|recursion"),
    ],
)
def test_arguments_that_do_not_fit_are_told_apart(arguments: str, says: str) -> None:
    def visit(place: Place, times: int = 1) -> None: ...

    with pytest.raises(BadArguments, match=says):
        parameters(visit).decode(arguments, Marker())


def test_arguments_nested_without_end_are_told_too() -> None:
    def keep(value: Any) -> None: ...

    with pytest.raises(BadArguments, match="recursion"):
        parameters(keep).decode('{"value":' + "[" * 100_000, Marker())
