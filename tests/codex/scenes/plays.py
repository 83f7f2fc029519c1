"""What the user does in each scene."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Say(NamedTuple):
    """Start a turn with ``[scene NAME]``."""

    scene: str


class End(NamedTuple):
    """Wait until the turn has ended."""


class Speaking(NamedTuple):
    """Wait until the model writes its first message, or a later one."""

    message: int = 1


class Asked(NamedTuple):
    """Wait until the tool ``hold`` was called and the response is complete."""


class Answered(NamedTuple):
    """Wait until a call has its answer."""


class Running(NamedTuple):
    """Wait until a command of the shell runs."""


class Answer(NamedTuple):
    """Answer the call of ``hold``."""


class Steer(NamedTuple):
    """Say more while the turn runs."""

    scene: str


class Open(NamedTuple):
    """Let the model go on."""

    gate: str = "message"


class Interrupt(NamedTuple):
    """Interrupt the turn and wait for its end."""


class Compact(NamedTuple):
    """Compact on request and wait for the end of that turn."""


class RollBack(NamedTuple):
    """Drop the last turn."""


class Fork(NamedTuple):
    """Go on in a fork."""


class Reopen(NamedTuple):
    """End the process and resume in another one."""


class Kill(NamedTuple):
    """The same, but the process is killed on the spot."""


Waiting: TypeAlias = End | Speaking | Asked | Answered | Running
Between: TypeAlias = Compact | RollBack | Fork | Reopen | Kill
"""What is done while no turn runs."""
Action: TypeAlias = Say | Waiting | Answer | Steer | Open | Interrupt | Between


class Play(NamedTuple):
    """One scene: what the user does, in order."""

    actions: tuple[Action, ...]
    retries: int = 0
    """How often a broken stream may be tried again."""
    chance: frozenset[str] = frozenset()
    """Releases that do not always do the same."""


def _turns(*scenes: str, retries: int = 0) -> Play:
    actions: list[Action] = []
    for scene in scenes:
        actions += [Say(scene), End()]
    return Play(tuple(actions), retries)


def _held(*actions: Action) -> Play:
    return Play((Say("held"), Speaking(), *actions))


PLAIN: tuple[Action, ...] = (Say("plain"), End())
PLAYS: dict[str, Play] = {
    "plain": _turns("plain", "plain"),
    "reasoning": _turns("reasoning"),
    "tool": _turns("tool", "plain"),
    "shell": _turns("shell"),
    "three": Play((Say("three"), Asked(), Answer(), End())),
    "three_shell": _turns("three_shell"),
    "sequence": _turns("sequence"),
    "unknown_tool": _turns("unknown_tool"),
    "bad_arguments": _turns("bad_arguments"),
    "bad_shell_arguments": _turns("bad_shell_arguments"),
    "web": _turns("web"),
    "phases": _turns("phases"),
    "commentary": _turns("commentary"),
    "long": _turns("long"),
    "failed": _turns("failed", "plain"),
    "context": _turns("plain", "context", "plain"),
    "quota": _turns("quota", "plain"),
    "message_failed": _turns("message_failed", "plain"),
    "incomplete": _turns("incomplete", "plain"),
    "bad_request": _turns("bad_request", "plain"),
    "internal_error": _turns("internal_error", "plain"),
    "limit_reached": _turns("limit_reached", "plain"),
    "hang_up": _turns("hang_up", "plain"),
    "hang_up_retried": _turns("hang_up", "plain", retries=2),
    "cut_once": _turns("cut_once", "plain", retries=2),
    "cut_once_after_call": _turns("cut_once_after_call", retries=2),
    "half": _turns("half", "plain"),
    "half_retried": _turns("half", "plain", retries=2),
    "interrupted": _held(Interrupt(), *PLAIN),
    "interrupted_after_message": Play((Say("held_twice"), Speaking(2), Interrupt(), *PLAIN)),
    "interrupted_later": Play((*PLAIN, Say("held"), Speaking(), Interrupt(), *PLAIN)),
    "interrupted_tool": Play((Say("hold"), Asked(), Interrupt(), *PLAIN)),
    "interrupted_shell": Play(
        (Say("hold_shell"), Running(), Interrupt(), *PLAIN), chance=frozenset({"0.169.0"})
    ),
    "interrupted_second": Play(
        (Say("hold_second"), Answered(), Open(), Asked(), Interrupt(), *PLAIN),
        chance=frozenset({"0.169.0"}),
    ),
    "steered": _held(Steer("plain"), Open(), End()),
    "steered_before_call": Play(
        (Say("held_before_call"), Speaking(), Steer("plain"), Open(), End())
    ),
    "steered_tool": Play((Say("hold"), Asked(), Steer("plain"), Answer(), End())),
    "steered_interrupted": Play((Say("hold"), Asked(), Steer("plain"), Interrupt(), *PLAIN)),
    "second_start": _held(Say("plain"), Open(), End()),
    "compacted": Play((Say("tool"), End(), Compact(), *PLAIN)),
    "compacted_before_turn": _turns("huge", "plain", "plain"),
    "compacted_in_turn": _turns("compacted_in_turn", "plain"),
    "rolled_back": Play((*PLAIN, Say("tool"), End(), RollBack(), *PLAIN)),
    "forked": Play((Say("tool"), End(), Fork(), *PLAIN)),
    "reopened": Play((Say("tool"), End(), Reopen(), *PLAIN)),
    "reopened_interrupted": _held(Interrupt(), Reopen(), *PLAIN),
    "reopened_compacted": Play((Say("tool"), End(), Compact(), Reopen(), *PLAIN)),
    "killed": _held(Kill(), *PLAIN),
    "killed_tool": Play((Say("hold"), Asked(), Kill(), *PLAIN), chance=frozenset({"0.169.0"})),
    "no_usage": _turns("no_usage", "plain", "no_usage"),
    "no_limits": _turns("no_limits", "no_limits_tool", "plain", "no_limits"),
    "nothing_known": _turns("nothing_known", "plain", "nothing_known"),
}
