"""What a model may call: Python functions, questions to the user, tools of the session's owner.

A :class:`Toolbox` runs the calls. Tools are foreign code: whatever one does, the model gets an
output, and an interrupt is never held up.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Annotated, Any, Final, overload

import msgspec

from threadstore.engine.approval import is_approved
from threadstore.engine.tool_base import (
    Tool,
    ToolCall,
    ToolContext,
    ToolOutput,
    check_tool,
    shown_name,
)
from threadstore.engine.tool_outputs import as_output, bounded, described, failure
from threadstore.engine.tool_running import SharedLock, ended, in_thread
from threadstore.engine.tool_schema import (
    BadArguments,
    Parameters,
    decode_arguments,
    plain_schema,
    underlying,
)
from threadstore.errors import InvalidRequest
from threadstore.history.policy import OUTPUT_LIMIT

__all__ = [
    "AskUser",
    "ClientTool",
    "FunctionTool",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolOutput",
    "Toolbox",
    "aborted",
    "as_tool",
    "client_tools",
    "tool",
]

Json = dict[str, Any]
_LEAST_LIMIT: Final = 256


class FunctionTool(Tool):
    """A Python callable as a tool; see :func:`tool`. Calling it calls the callable."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        namespace: str | None = None,
        parallel: bool = True,
        timeout: float | None = None,
        approval: bool = False,
    ) -> None:
        given: object = function
        if not callable(given) or isinstance(given, (type, Tool)):
            raise InvalidRequest(
                f"expected a callable or a Tool, not {function!r}",
                hint="pass a function, or an object of the class",
            )
        own_name, own_text = _said_of(function)
        self.name = own_name if name is None else name
        self.namespace = namespace
        self.parallel = parallel
        self.timeout = timeout
        self._asks = approval
        self._function = function
        self._is_async = any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))
        self._parameters = Parameters(function, injected=ToolCall)
        self._description = own_text if description is None else description
        check_tool(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def spec(self) -> Json:
        return _function_spec(self.name, self._description, self._parameters.schema)

    async def run(self, call: ToolCall, context: ToolContext) -> ToolOutput:
        try:
            positions, keywords = self._parameters.decode(call.arguments, call)
        except BadArguments as error:
            return _misfit(call, error)
        if self._asks and not await is_approved(call, context):
            return failure(f"the user did not allow {call.name}; it was not run")
        if self._is_async:
            return as_output(await self._function(*positions, **keywords))

        def work() -> ToolOutput | Awaitable[Any]:
            result = self._function(*positions, **keywords)
            return result if inspect.isawaitable(result) else as_output(result)

        result = await in_thread(work)
        return result if isinstance(result, ToolOutput) else as_output(await result)


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    namespace: str | None = None,
    parallel: bool = True,
    timeout: float | None = None,
    approval: bool = False,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...
def tool(
    function: Callable[..., Any] | None = None, /, **options: Any
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Make a tool of a callable, as ``@tool`` or ``@tool(name=…, timeout=…, parallel=…)``.

    The schema comes from its signature: annotations that msgspec knows, ``Annotated[…,
    msgspec.Meta(description=…)]``, defaults; the description is the first paragraph of its
    docstring. An async function is awaited; any other runs in a thread of its own, which nothing
    can stop: after a time-out or an interrupt it is left alone. A parameter annotated
    :class:`ToolCall` gets the call. The result is text as it is, a :class:`ToolOutput` as it is,
    ``None`` as no text, and everything else as JSON. With *approval* the user is asked before each
    call, unless the session's approval policy is ``never``; the time-out runs meanwhile.
    :class:`InvalidRequest` if there is no schema.
    """
    if function is not None:
        return FunctionTool(function, **options)
    return lambda function: FunctionTool(function, **options)


def as_tool(thing: Tool | Callable[..., Any]) -> Tool:
    """A tool as it is, a callable wrapped. Raises :class:`InvalidRequest` for anything else."""
    if not isinstance(thing, Tool):
        return FunctionTool(thing)
    check_tool(thing)
    return thing


class _Option(msgspec.Struct):
    label: Annotated[str, msgspec.Meta(description="The choice, in one to five words.")]
    description: Annotated[str, msgspec.Meta(description="What it means to choose it.")]


class _Question(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(description="A snake_case name, the key of its answer.")]
    header: Annotated[str, msgspec.Meta(description="A label of at most 12 characters.")]
    question: Annotated[str, msgspec.Meta(description="The question, in one sentence.")]
    options: Annotated[
        list[_Option],
        msgspec.Meta(description="Two or three choices that exclude each other.", min_length=1),
    ]


class _Questions(msgspec.Struct):
    questions: Annotated[
        list[_Question], msgspec.Meta(description="One to three questions.", min_length=1)
    ]


class AskUser(Tool):
    """Lets the model ask the user, as Codex's tool of this name does.

    Each question reaches :meth:`ToolContext.ask_user` with ``isOther`` (an answer in other words
    is welcome) and ``isSecret``, as Codex passes it on.
    """

    name = "request_user_input"

    def spec(self) -> Json:
        text = "Ask the user one to three short questions and wait for the answers."
        schema = {**plain_schema(_Questions), "additionalProperties": False}
        return _function_spec(self.name, text, schema)

    async def run(self, call: ToolCall, context: ToolContext) -> ToolOutput:
        try:
            asked = decode_arguments(call.arguments, msgspec.json.Decoder(_Questions))
        except BadArguments as error:
            return _misfit(call, error)
        questions = [
            {**msgspec.to_builtins(each), "isOther": True, "isSecret": False}
            for each in asked.questions
        ]
        return as_output(await context.ask_user(call, questions))


class ClientTool(Tool):
    """A tool that the session's owner offers and answers (Codex's ``dynamicTools``).

    Its spec is ``{"name", "description", "inputSchema", "namespace"?}``; the schema may as well be
    called ``input_schema`` or ``parameters``. Arguments are checked to be an object, no further.
    """

    def __init__(self, spec: Json) -> None:
        given: object = spec
        if not isinstance(given, dict) or spec.get("type", "function") != "function":
            raise InvalidRequest(
                "the spec of a client's tool must be the object of one function",
                hint='pass {"name": …, "description": …, "inputSchema": {"type": "object", …}}',
            )
        keys = ("inputSchema", "input_schema", "parameters")
        schema = next((spec[key] for key in keys if key in spec), {"type": "object"})
        description = spec.get("description", "")
        if not isinstance(schema, dict) or not isinstance(description, str):
            raise InvalidRequest(
                "the description of a client's tool must be text, and its schema an object",
                hint="pass a JSON Schema as inputSchema",
            )
        self.name = spec.get("name", "")
        self.namespace = spec.get("namespace")
        check_tool(self)
        self._spec = _function_spec(self.name, description, {"properties": {}, **schema})

    def spec(self) -> Json:
        return self._spec

    async def run(self, call: ToolCall, context: ToolContext) -> ToolOutput:
        try:
            decode_arguments(call.arguments, msgspec.json.Decoder(Json))
        except BadArguments as error:
            return _misfit(call, error)
        text = call.arguments if call.arguments.strip() else "{}"
        return await context.ask_client(msgspec.structs.replace(call, arguments=text))


def client_tools(specs: Iterable[Json]) -> Iterator[ClientTool]:
    """The tools that *specs* describe: each of one function, or of a namespace and its functions.

    ``{"type": "namespace", "name", "tools": [...]}`` is what Codex's terminal client sends (0.169).
    """
    for spec in specs:
        given: object = spec
        if isinstance(given, dict) and spec.get("type") == "namespace":
            inside = spec.get("tools")
            if not isinstance(inside, list) or not all(isinstance(each, dict) for each in inside):
                raise InvalidRequest(
                    f"the namespace {spec.get('name')!r} has no list of tools",
                    hint='pass {"type": "namespace", "name": …, "tools": […]}',
                )
            yield from (ClientTool({**each, "namespace": spec.get("name")}) for each in inside)
        else:
            yield ClientTool(spec)


class Toolbox:
    """The tools of a session, and the running of their calls.

    Calls start in the order in which they are made. An output of more than *output_limit* bytes
    loses its middle. Raises :class:`InvalidRequest` for two tools of one name.
    """

    def __init__(
        self, tools: Iterable[Tool | Callable[..., Any]] = (), *, output_limit: int = OUTPUT_LIMIT
    ) -> None:
        given: object = output_limit
        if not isinstance(given, int) or output_limit < _LEAST_LIMIT:
            raise InvalidRequest(
                f"output_limit must be a number of bytes from {_LEAST_LIMIT}, not {output_limit!r}",
                hint="leave it out for 64 KiB",
            )
        self._limit = output_limit
        self._tools: dict[tuple[str | None, str], Tool] = {}
        for each in map(as_tool, tools):
            if (each.namespace, each.name) in self._tools:
                raise InvalidRequest(
                    f"two tools are named {shown_name(each.name, each.namespace)}",
                    hint="give one of them another name, as in tool(name=…)",
                )
            self._tools[each.namespace, each.name] = each
        self._specs = _grouped(self._tools.values())
        self._lock = SharedLock()

    def specs(self) -> tuple[Json, ...]:
        """The tools as a request to the model names them, always in the same order."""
        return self._specs

    async def run(self, call: ToolCall, context: ToolContext) -> ToolOutput:
        """The output of *call*; ``success`` is false if the tool did not do what was asked.

        Raises nothing but ``CancelledError`` and ``KeyboardInterrupt``. If it is cancelled, or the
        tool's time is up, the tool is cancelled too, and left alone if it does not end soon.
        """
        found = self._tools.get((call.namespace or None, call.name))
        if found is None:
            return bounded(self._unknown(call), self._limit)
        async with self._lock.held(alone=not found.parallel):
            task = await ended(_called(found, call, context), found.timeout)
        if task is None:
            return failure(f"{call.name} did not end within {found.timeout:g} s; try with less")
        if task.cancelled():
            return failure(f"{call.name} gave up: it was cancelled from within")
        error = task.exception()
        if isinstance(error, KeyboardInterrupt):
            raise error
        output = task.result() if error is None else failure(described(error))
        try:
            return bounded(output, self._limit)
        except TypeError as problem:
            return failure(described(problem))

    def _unknown(self, call: ToolCall) -> ToolOutput:
        names = ", ".join(shown_name(each.name, each.namespace) for each in self._tools.values())
        known = f"the tools are: {names}" if names else "there are no tools"
        return failure(f"no tool is named {shown_name(call.name, call.namespace)}; {known}")


def aborted(seconds: float) -> str:
    """The output that stands for a call which the user interrupted after so many *seconds*, in
    the words of Codex 0.131."""
    return f"aborted by user after {max(seconds, 0.1):.1f}s"


async def _called(found: Tool, call: ToolCall, context: ToolContext) -> ToolOutput:
    try:
        return await found.run(call, context)
    except SystemExit as error:  # a task would end the loop with it
        return failure(described(error))


def _misfit(call: ToolCall, error: BadArguments) -> ToolOutput:
    return failure(f"the arguments do not fit {call.name}: {error}. Mend them and call it again.")


def _function_spec(name: str, description: str, parameters: Json) -> Json:
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": parameters,
        "strict": False,
    }


def _grouped(tools: Iterable[Tool]) -> tuple[Json, ...]:
    """One spec for each tool, and one for each namespace with its tools by name, as Codex 0.131
    sends them."""
    specs: list[Json] = []
    namespaces: dict[str, list[Json]] = {}
    for each in tools:
        if each.namespace is None:
            specs.append(each.spec())
            continue
        if each.namespace not in namespaces:
            inside = namespaces[each.namespace] = []
            text = f"Tools in the {each.namespace} namespace."
            specs.append(
                {
                    "type": "namespace",
                    "name": each.namespace,
                    "description": text,
                    "tools": inside,
                }
            )
        namespaces[each.namespace].append(each.spec())
    for inside in namespaces.values():
        inside.sort(key=lambda spec: str(spec["name"]))
    return tuple(specs)


def _said_of(function: Callable[..., Any]) -> tuple[str, str]:
    """The name of a callable, and the first paragraph of its docstring. An object that can be
    called goes by its class."""
    inner = underlying(function)
    while isinstance(function, functools.partial):
        function = function.func
    named, text = inner, inspect.getdoc(inner)
    if inner.__name__ == "__call__":
        named, text = type(function), inner.__doc__ or inspect.getdoc(function)
    return named.__name__, " ".join((text or "").partition("\n\n")[0].split())
