"""The parameters of a Python callable: their JSON Schema, and a model's arguments for them."""

from __future__ import annotations

import functools
import inspect
import math
import sys
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import msgspec

from threadstore.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "BadArguments",
    "Parameters",
    "any_arguments",
    "decode_arguments",
    "plain_schema",
    "underlying",
]

Json = dict[str, Any]
T = TypeVar("T")
_ABSENT: Final = object()
_LEVELS: Final = 100
"""Codex reads JSON of up to 127 levels (0.131), of which a line takes some for itself."""
_any_value: Final = msgspec.json.Decoder()


class BadArguments(ValueError):
    """Arguments that do not fit; the text names the parameter, for the model to mend it."""


class Parameters:
    """What a callable wants to be called with.

    A parameter without annotation takes any JSON value; one whose annotation is *injected* is
    filled in by us and not in the schema; so is what a ``functools.partial`` fixed by keyword.
    ``*args`` and ``**kwargs`` have no schema, nor have types that JSON cannot express:
    :class:`InvalidRequest`.
    """

    def __init__(self, function: Callable[..., Any], *, injected: type) -> None:
        signature = _signature(function)
        fixed = function.keywords if isinstance(function, functools.partial) else {}
        hints = _hints(function, signature)
        self._wanted: list[inspect.Parameter] = []
        self._injected: list[inspect.Parameter] = []
        for name, parameter in signature.parameters.items():
            if name in fixed:
                continue
            _check_kind(parameter)
            is_injected = _means(hints.get(name), injected)
            (self._injected if is_injected else self._wanted).append(parameter)
        types_by_name = {each.name: hints.get(each.name, Any) for each in self._wanted}
        self.schema: Final[Json] = _schema(self._wanted, types_by_name)
        self._decoder = msgspec.json.Decoder(_struct(self._wanted, types_by_name))
        self._positional = [
            each
            for each in signature.parameters.values()
            if each.kind is inspect.Parameter.POSITIONAL_ONLY
        ]

    def decode(self, arguments: str, injected: object) -> tuple[list[Any], dict[str, Any]]:
        """JSON text as positions and keywords for the callable. Raises :class:`BadArguments`.

        Nothing is converted but what the annotations ask for; an absent parameter keeps the
        callable's own default.
        """
        try:
            values = msgspec.structs.astuple(decode_arguments(arguments, self._decoder))
        except BadArguments as error:
            raise BadArguments(f"{error}; {self._usage()}") from error
        keywords = {
            parameter.name: value
            for parameter, value in zip(self._wanted, values, strict=True)
            if value is not _ABSENT
        }
        keywords.update((parameter.name, injected) for parameter in self._injected)
        positions = [keywords.pop(each.name, each.default) for each in self._positional]
        return positions, keywords

    def _usage(self) -> str:
        if not self._wanted:
            return "it has no parameters"
        return "its parameters are " + ", ".join(
            f"`{each.name}`" + (" (required)" if each.default is each.empty else "")
            for each in self._wanted
        )


def decode_arguments(arguments: str, decoder: msgspec.json.Decoder[T]) -> T:
    """JSON text, of which none counts as ``{}``. Raises :class:`BadArguments`."""
    try:
        return decoder.decode(arguments if arguments.strip() else "{}")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadArguments(str(error)) from error


def any_arguments(arguments: str) -> Any:
    """The JSON value that *arguments* are, for events and lines. Raises :class:`BadArguments`."""
    value = decode_arguments(arguments, _any_value)
    if _is_deeper(value, _LEVELS):
        raise BadArguments(f"they are nested more than {_LEVELS} levels deep")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


def underlying(function: Callable[..., Any]) -> Any:
    """The plain function inside partials, methods, wrappers and callable objects."""
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    if not inspect.isroutine(inner):
        inner = type(inner).__call__
    return getattr(inner, "__func__", inner)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError, NameError) as error:
        raise InvalidRequest(
            f"no signature can be read from {function!r}: {error}",
            hint="wrap it in a Python function whose parameters are annotated",
        ) from error


def _check_kind(parameter: inspect.Parameter) -> None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise InvalidRequest(
            f"a tool cannot have the parameter {parameter}: a model passes arguments by name",
            hint="give the tool one named parameter for each argument, or one that is a dict",
        )
    if parameter.name == "self" and parameter.annotation is parameter.empty:
        raise InvalidRequest(
            "a tool cannot be made of a method without its object",
            hint="pass the method of an object, such as `as_tool(thing.method)`",
        )


def _means(hint: object, wanted: type) -> bool:
    """Whether an annotation is *wanted*, perhaps optional or annotated."""
    if hint is wanted:
        return True
    origin = typing.get_origin(hint)
    return origin in (Annotated, typing.Union, types.UnionType) and wanted in typing.get_args(hint)


def _hints(function: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    """The types of the parameters, with text annotations looked up where the function was made."""
    annotated = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if parameter.annotation is not parameter.empty
    }
    inner = underlying(function)

    def carrier() -> None: ...

    carrier.__annotations__ = annotated  # the return type may be something we need not know
    try:
        return typing.get_type_hints(
            carrier,
            globalns=getattr(inner, "__globals__", {}),
            localns=_names_around(inner),
            include_extras=True,
        )
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        raise InvalidRequest(
            f"the annotations of {inner.__name__} cannot be understood: {error}",
            hint="import what they name at run time, or put @tool at the function's definition",
        ) from error


def _names_around(function: Any) -> dict[str, Any]:
    """What a function defined inside another one sees: types there are found by their names only
    through its closure, and through the calls that are still running."""
    names: dict[str, Any] = {}
    outer, inside, _ = function.__qualname__.rpartition(".<locals>.")
    if inside:
        for frame in _frames():
            around = frame.f_code.co_qualname
            if f"{outer}.".startswith(f"{around}.") and frame.f_globals is function.__globals__:
                names = {**frame.f_locals, **names}
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                names[name] = cell.cell_contents
            except ValueError:  # assigned later
                continue
    return names


def _frames() -> Iterator[types.FrameType]:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _struct(
    parameters: Iterable[inspect.Parameter], types_by_name: dict[str, Any]
) -> type[msgspec.Struct]:
    """A struct with one field for each parameter. The fields have names of their own, since a
    parameter may be called what a struct keeps for itself."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    for number, parameter in enumerate(parameters):
        name = f"p{number}"
        rename[name] = parameter.name
        if parameter.default is parameter.empty:
            fields.append((name, types_by_name[parameter.name]))
        else:
            absent = msgspec.field(default_factory=lambda: _ABSENT)
            fields.append((name, types_by_name[parameter.name], absent))
    return msgspec.defstruct(
        "Arguments", fields, rename=rename, forbid_unknown_fields=True, kw_only=True
    )


def _schema(parameters: list[inspect.Parameter], types_by_name: dict[str, Any]) -> Json:
    for parameter in parameters:
        try:
            msgspec.json.schema(_struct([parameter], types_by_name))
        except (TypeError, ValueError, NameError, RecursionError) as error:
            raise InvalidRequest(
                f"parameter {parameter.name} has no JSON Schema: {' '.join(str(error).split())}",
                hint="annotate it with a JSON type, a dataclass, a TypedDict or a msgspec.Struct",
            ) from error
    schema = plain_schema(_struct(parameters, types_by_name))
    for parameter in parameters:
        default = parameter.default
        if isinstance(default, (bool, int, str)) or (
            isinstance(default, float) and math.isfinite(default)
        ):
            schema["properties"][parameter.name]["default"] = msgspec.to_builtins(default)
    return schema


def plain_schema(type_: Any) -> Json:
    """A type's JSON Schema without references, except to types that contain themselves."""
    (root,), definitions = msgspec.json.schema_components([type_], ref_template="#/$defs/{name}")
    for definition in definitions.values():
        definition.pop("title", None)  # the name of a class tells a model nothing
    endless: set[str] = set()
    schema: Json = _inlined(root, definitions, (), endless)
    kept: Json = {}
    while missing := sorted(endless - kept.keys()):
        for name in missing:
            kept[name] = _inlined(definitions[name], definitions, (name,), endless)
    return {**schema, "$defs": kept} if kept else schema


def _inlined(part: Any, definitions: Json, within: tuple[str, ...], endless: set[str]) -> Any:
    if isinstance(part, list):
        return [_inlined(each, definitions, within, endless) for each in part]
    if not isinstance(part, dict):
        return part
    reference = part.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix("#/$defs/")
        if name in within or name in endless:
            endless.add(name)
            return part
        inner = _inlined(definitions[name], definitions, (*within, name), endless)
        if name in endless:
            return part
        beside = {key: value for key, value in part.items() if key != "$ref"}
        return {**inner, **beside}
    plain: Json = {}
    for key, value in part.items():
        if key == "properties":
            plain[key] = {
                name: _inlined(each, definitions, within, endless) for name, each in value.items()
            }
        elif key in ("default", "enum", "examples"):
            plain[key] = value
        elif key != "discriminator":  # it maps to references
            plain[key] = _inlined(value, definitions, within, endless)
    return plain
