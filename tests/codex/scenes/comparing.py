"""What ours should be, given what Codex does: the same, but for the differences listed here."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.codex.scenes import orders
from tests.codex.scenes.codex import Played

OLD, NEW = "0.131.0", "0.169.0"
BOTH = (OLD, NEW)

NOT_COMPARED = {
    (NEW, "steered"): "0.169 cuts the answer off when the user steers; ours waits, like 0.131",
    (NEW, "steered_before_call"): "the same",
    (NEW, "second_start"): "the same",
    (NEW, "rolled_back"): "0.169 goes on in another file; ours marks the cut, like 0.131",
}


class Difference(NamedTuple):
    """Where Codex has *pattern* (a regular expression) in these scenes, we have *ours*."""

    scenes: str
    part: str
    pattern: str
    ours: str
    releases: tuple[str, ...]

    def apply(self, release: str, scene: str, played: dict[str, list[str]]) -> None:
        """Make of Codex's words what ours should be."""
        if release not in self.releases or scene not in self.scenes.split():
            return
        changed = [re.subn(self.pattern, self.ours, text) for text in played[self.part]]
        assert any(count for _, count in changed), f"{self} is no difference any more"
        played[self.part] = [text for text, _ in changed]


def _lines(scenes: str, pattern: str, ours: str, *releases: str) -> Difference:
    return Difference(scenes, "lines", pattern, ours, releases or BOTH)


def _events(scenes: str, pattern: str, ours: str, *releases: str) -> Difference:
    return Difference(scenes, "events", pattern, ours, releases or BOTH)


def _requests(scenes: str, pattern: str, ours: str, *releases: str) -> Difference:
    return Difference(scenes, "requests", pattern, ours, releases or BOTH)


def _counts(scenes: str, pattern: str, ours: str) -> Difference:
    return Difference(scenes, "counts", pattern, ours, BOTH)


_HALVES = "interrupted interrupted_after_message interrupted_later reopened_interrupted"
_MISFITS = "unknown_tool bad_arguments bad_shell_arguments"
_STOPPED = "interrupted_tool interrupted_shell steered_interrupted"
_NOT_IN_TURN = "compacted reopened_compacted"
_BEFORE_TURN = "context compacted_before_turn"
_COMPACTED = f"{_NOT_IN_TURN} {_BEFORE_TURN} compacted_in_turn"
_NO_LIMITS = r"account/rateLimits/updated\[none\]"
_COUNT = r"(?:thread/tokenUsage/updated\S+ )?account/rateLimits/updated"
_ABORTED = r"(?=ri:user\(aborted\))"
_BEFORE_ABORTED = r"(?=token_count\S+ ri:user\(aborted\))"
_ENDED_CALL = "item/completed[dynamicToolCall] "
_CALL_OUTPUT = "(?=ri:function_call_output)"

DIFFERENCES = (
    # What the model had said when the user interrupted it is kept, and shown to it again.
    _lines(_HALVES, _BEFORE_ABORTED, "agent_message ri:assistant ", OLD),
    _lines(_HALVES, _BEFORE_ABORTED, "item_completed(AgentMessage) ri:assistant ", NEW),
    _events(_HALVES, rf"delta (?={_COUNT} turn)", "delta item/completed[agentMessage] "),
    _requests(_HALVES, _ABORTED, "ri:assistant "),
    # A call that was interrupted is shown as ended, and its output always says "aborted".
    _events(_STOPPED, rf"(tool/call|ToolCall\]) (?={_COUNT} turn)", rf"\1 {_ENDED_CALL}", OLD),
    _lines("interrupted_tool steered_interrupted", "_output ", "_output(aborted) ", NEW),
    _requests("interrupted_tool steered_interrupted", "_output ", "_output(aborted) ", NEW),
    # So is what it had said when the stream broke for good.
    _lines("half", r"(?=token_count\(null)", "agent_message ri:assistant ", OLD),
    _lines("half", r"(?=token_count\(null)", "item_completed(AgentMessage) ri:assistant ", NEW),
    _events("half", f"delta (?={_COUNT} error)", "delta item/completed[agentMessage] "),
    _requests("half", "ri:user (?=ri:user)", "ri:user ri:assistant "),
    # What the user said while a turn ran is kept, although it was interrupted.
    _lines("steered_interrupted", _ABORTED, "ri:user user_message ", OLD),
    _lines("steered_interrupted", _ABORTED, "ri:user item_completed(UserMessage) ", NEW),
    _events(
        "steered_interrupted",
        r"(?=turn/completed\[interrupted)",
        "item/started[userMessage] item/completed[userMessage] ",
    ),
    _requests("steered_interrupted", _ABORTED, "ri:user "),
    # A call that no tool can take is shown like any other.
    _lines(_MISFITS, _CALL_OUTPUT, "item_completed(DynamicToolCall) ", NEW),
    _events(
        _MISFITS,
        rf"(?<=completed\[userMessage\] )(?={_COUNT})",
        f"item/started[dynamicToolCall] {_ENDED_CALL}",
    ),
    # Kinds of errors that Codex calls "other".
    _events("failed", "final:other", "final:internalServerError"),
    _events("bad_request message_failed", "final:other", "final:badRequest"),
    _events("hang_up hang_up_retried half", "final:other", "final:responseStreamDisconnected"),
    # Limits stay known until a response tells others; that it tells none is no news.
    _lines("no_limits", r"token_count\(5201/1020\)", "token_count(5201/1020+limits)"),
    _events("no_limits", rf"(?<=\[(?:1020/1020|2040/1020|3161/1121)\]) {_NO_LIMITS}", ""),
    _events("no_limits", _NO_LIMITS, "account/rateLimits/updated"),
    _events("limit_reached", f"{_NO_LIMITS} ", ""),
    _lines("nothing_known", r"token_count\((null|1020/1020)\) ", ""),
    _events("nothing_known", rf"(thread/tokenUsage/updated\S+ )?{_NO_LIMITS} ", ""),
    # A process that is killed after a response was complete has counted it.
    _lines("killed_tool", "1020/1020", "2040/1020"),
    _events("killed_tool", "1020/1020", "2040/1020"),
    _counts("killed_tool", "^1000 100 20 5 1020", "2000 200 40 10 2040"),
    # Reasoning that led to nothing is not sent again: the API would refuse it.
    _requests("killed", "ri:reasoning ", ""),
    # 0.169 keeps the summary as a message as well, and the settings right behind a compaction.
    _lines(_COMPACTED, r"ri:assistant (?=token_usage_record\(3060)", "", NEW),
    _lines(f"{_NOT_IN_TURN} {_BEFORE_TURN}", "(?<=compacted )turn_context ", "", NEW),
    _lines(_BEFORE_TURN, r"(?<=Compaction\))", " turn_context", NEW),
)


def expected(release: str, scene: str, theirs: Played) -> Played:
    """What ours should be."""
    played = _plain(release, theirs)._asdict()
    # How a turn failed stands in its end, as in 0.169; 0.131 does not keep it.
    for place, events in enumerate(played["events"]):
        if events.endswith("[failed]"):
            lines = played["lines"][place]
            played["lines"][place] = re.sub(r"task_complete$", "task_complete(error)", lines)
    for difference in DIFFERENCES:
        difference.apply(release, scene, played)
    return Played(**played)


def comparable(release: str, ours: Played) -> Played:
    """Ours, without what is not compared."""
    return _plain(release, ours)


def _plain(release: str, played: Played) -> Played:
    """Without what each program says about itself; tools are tools; counts that differ."""
    counts = [count for count in played.counts if count != "null"]
    about_itself = orders.CONTEXT if release == NEW else frozenset()
    lines = (_without(text, about_itself) for text in played.lines)
    return Played(
        [text.replace("CommandExecution", "DynamicToolCall") for text in lines],
        [text.replace("commandExecution", "dynamicToolCall") for text in played.events],
        [_without(text, about_itself) for text in played.requests],
        [count for place, count in enumerate(counts) if count not in counts[place - 1 : place]],
    )


def _without(text: str, words: frozenset[str]) -> str:
    return " ".join(word for word in text.split() if word not in words)
