"""What the model says, by the name in ``[scene NAME]`` and the number of outputs since then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.codex.model_server import SUMMARY
from tests.codex.scenes.script import (
    Completed,
    Failed,
    Held,
    HungUp,
    Incomplete,
    Refused,
    Reply,
    Script,
)

if TYPE_CHECKING:
    from tests.codex.model_server import Request
    from tests.codex.scenes.script import Ending

Json = dict[str, Any]
HUGE = 250_000
"""Tokens of an answer after which the context (272,000 at most) has to be compacted."""


def _usage(request: Request) -> Completed:
    """Different for each step, and the same for every program that asks."""
    step = len(request.outputs)
    return Completed(1000 + 100 * step, 20 + step)


def _message(request: Request, text: str, *, number: int = 0, phase: str | None = None) -> Json:
    message = {**request.message(text), "id": f"msg_{request.tag}_{number}"}
    return {**message, "phase": phase} if phase else message


def _says(text: str, ending: Ending | None = None, *, limits: bool = True) -> Script:
    def script(request: Request, _tries: int) -> Reply:
        end = _usage(request) if ending is None else ending
        return Reply((_message(request, text),), end, limits=limits)

    return script


def _only(ending: Ending) -> Script:
    return lambda _request, _tries: Reply((), ending)


def _calls(*steps: tuple[tuple[str, Json | str], ...], limits: bool = True) -> Script:
    """Steps of calls (name and arguments) one after the other, then an answer."""
    before = [sum(map(len, steps[:index])) for index in range(len(steps))]

    def script(request: Request, _tries: int) -> Reply:
        done = len(request.outputs)
        if done not in before:
            return Reply((_message(request, "The tools ran."),), _usage(request), limits=limits)
        calls = steps[before.index(done)]
        items = [_call(request, *call, number) for number, call in enumerate(calls)]
        return Reply(tuple(items), _usage(request), limits=limits)

    return script


def _call(request: Request, name: str, arguments: Json | str, number: int) -> Json:
    if name == "shell":
        assert isinstance(arguments, str)
        return request.shell(arguments, number)
    if isinstance(arguments, str):
        return {**request.call(name, {}, number), "arguments": arguments}
    return request.call(name, arguments, number)


def _reasoning(request: Request, _tries: int) -> Reply:
    thought = request.reasoning("**Thinking**")
    thought["summary"].append({"type": "summary_text", "text": "**Thinking more**"})
    return Reply((thought, _message(request, "Thought through.")), _usage(request))


def _reasoned_tool(request: Request, _tries: int) -> Reply:
    if request.outputs:
        return Reply((_message(request, "The tool said: a"),), _usage(request))
    items = request.reasoning("**Calling a tool**"), request.call("echo", {"text": "a"})
    return Reply(items, _usage(request))


def _phases(request: Request, _tries: int) -> Reply:
    first = _message(request, "I will look.", phase="commentary")
    second = _message(request, "I have looked.", number=1, phase="final_answer")
    return Reply((first, second), _usage(request))


def _commentary(request: Request, _tries: int) -> Reply:
    """A message, and calls in the same response."""
    if request.outputs:
        answer = _message(request, "Both ran.", phase="final_answer")
        return Reply((answer,), _usage(request))
    said = _message(request, "I will call two tools.", phase="commentary")
    calls = [request.call("echo", {"text": text}, number) for number, text in enumerate("ab")]
    return Reply((said, *calls), _usage(request))


def _web(request: Request, _tries: int) -> Reply:
    search = {
        "type": "web_search_call",
        "id": f"ws_{request.tag}",
        "status": "completed",
        "action": {"type": "search", "query": "rollouts", "queries": ["rollouts"]},
    }
    return Reply((search, _message(request, "Found.")), _usage(request))


def _held(request: Request, _tries: int) -> Reply:
    """Reasoning, then a message that stops in the middle."""
    message = _message(request, "This answer takes its time. " * 8)
    return Reply((request.reasoning("**Slowly**"), Held(message)), _usage(request))


def _held_twice(request: Request, _tries: int) -> Reply:
    """A complete message, then one that stops in the middle."""
    first = _message(request, "The first message is complete.")
    second = _message(request, "The second takes its time. " * 8, number=1)
    return Reply((first, Held(second)), _usage(request))


def _held_before_call(request: Request, _tries: int) -> Reply:
    """A message that stops in the middle, then a call."""
    if request.outputs:
        return Reply((_message(request, "The tool ran."),), _usage(request))
    message = _message(request, "This answer takes its time. " * 8)
    return Reply((Held(message), request.call("echo", {"text": "a"})), _usage(request))


def _held_second(request: Request, _tries: int) -> Reply:
    """Three calls; the second comes when the gate is opened."""
    first, *more = (
        request.call(name, {"text": name}, number)
        for number, name in enumerate(("echo", "hold", "hold"))
    )
    return Reply((first, Held(more[0]), more[1]), _usage(request))


def _cut_once(request: Request, tries: int) -> Reply:
    text, ending = ("Fine now.", _usage(request)) if tries else ("Cut off.", HungUp())
    return Reply((_message(request, text),), ending)


def _half(request: Request, tries: int) -> Reply:
    """The connection ends in the middle of a message, the first two times."""
    if tries > 1:
        return Reply((_message(request, "Whole now."),), _usage(request))
    return Reply((Held(_message(request, "Half of this. " * 8), gate=None),), HungUp())


def _cut_once_after_call(request: Request, tries: int) -> Reply:
    """The connection ends after a complete call, without a word about the response."""
    if request.outputs:
        return Reply((_message(request, "The tool ran."),), _usage(request))
    call = request.call("echo", {"text": "a"})
    return Reply((call,), _usage(request) if tries else HungUp())


def _compacted_in_turn(request: Request, _tries: int) -> Reply:
    """A tool after which the context is full; the answer comes once it is compacted."""
    if any(SUMMARY in str(item) for item in request.input):
        return Reply((_message(request, "Finished after the compaction."),), _usage(request))
    return Reply((request.call("echo", {"text": "a"}),), Completed(HUGE, 500))


def _limit_reached() -> Refused:
    error = {
        "type": "usage_limit_reached",
        "message": "The usage limit has been reached",
        "plan_type": "plus",
        "resets_in_seconds": 3600,
    }
    return Refused(429, error)


ECHO = (("echo", {"text": "a"}),)
THREE_SHELL = (("shell", "echo one"), ("shell", "echo two; exit 3"), ("shell", "sleep 0.3"))
SCRIPTS: dict[str, Script] = {
    "plain": _says("A plain answer."),
    "compaction": _says(SUMMARY, Completed(3000, 60)),
    "reasoning": _reasoning,
    "tool": _reasoned_tool,
    "shell": _calls((("shell", "echo hi"),)),
    "three": _calls((("echo", {"text": "a"}), ("broken", {"text": "b"}), ("hold", {"text": "c"}))),
    "three_shell": _calls(THREE_SHELL),
    "sequence": _calls(ECHO, ECHO, ECHO),
    "unknown_tool": _calls((("no_such_tool", {"x": 1}),)),
    "bad_arguments": _calls((("echo", "{not json"),)),
    "bad_shell_arguments": _calls((("exec_command", "{not json"),)),
    "web": _web,
    "phases": _phases,
    "commentary": _commentary,
    "long": _says(
        "A sentence that is repeated to make a long answer. " * 200, Completed(1000, 9000)
    ),
    "failed": _only(Failed("server_error")),
    "context": _only(Failed("context_length_exceeded", "Your input exceeds the context window")),
    "quota": _only(Failed("insufficient_quota", "You exceeded your current quota")),
    "message_failed": _says("Said before the failure.", Failed("invalid_prompt")),
    "incomplete": _says("Cut off by the limit", Incomplete()),
    "bad_request": _only(Refused(400, {"message": "refused", "code": "refused"})),
    "internal_error": _only(Refused(500, {"message": "an internal error"})),
    "limit_reached": _only(_limit_reached()),
    "hang_up": _says("Said before the end.", HungUp()),
    "cut_once": _cut_once,
    "cut_once_after_call": _cut_once_after_call,
    "half": _half,
    "held": _held,
    "held_twice": _held_twice,
    "held_before_call": _held_before_call,
    "hold": _calls((("hold", {"text": "a"}),)),
    "hold_shell": _calls((("shell", "echo started; sleep 60"),)),
    "hold_second": _held_second,
    "huge": _says("An answer with a huge usage.", Completed(HUGE, 500)),
    "compacted_in_turn": _compacted_in_turn,
    "no_usage": _says("An answer that does not say what it used.", Completed(None)),
    "no_limits": _says("An answer without limits.", limits=False),
    "no_limits_tool": _calls(ECHO, limits=False),
    "nothing_known": _says("Neither usage nor limits.", Completed(None), limits=False),
}
