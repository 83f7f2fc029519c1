"""Where our answers are not those of Codex, and why; ``docs/app-server.md`` tells it to users."""

from __future__ import annotations

from typing import Final, NamedTuple


class Difference(NamedTuple):
    """Lines of ``transcripts.differences`` that match *what*, in a *play* or (``""``) in any."""

    play: str
    what: str
    why: str
    mode: str = ""
    """Only against releases whose newest threads have this history mode; ``""``: against all."""

    def counts_for(self, play: str, mode: str) -> bool:
        """Whether it may occur there."""
        return self.play in ("", play) and self.mode in ("", mode)


_SAYS_THE_ID = "names what is no id; Codex describes the first wrong character"
_SAYS_WHY = "says why, where Codex says that there is no such thread"
_DECODER = "another decoder finds fault in other words"

DIFFERENCES: Final = (
    Difference("unknown", r"no id.error.message: invalid \w+ id: invalid char", _SAYS_THE_ID),
    Difference(
        "unknown",
        r"unknown.error.message: thread not found: ID, ours no rollout found for thread id ID",
        "the words of 0.169 for metadata of threads that do not exist",
        mode="legacy",
    ),
    Difference("faults", r"^read without an id.error.message: .*missing field", _DECODER),
    Difference("faults", r"^sandbox.error.message: .*unknown variant `bogus`", _DECODER),
    Difference("faults", r"^no such method.error.message: .*expected one of", "no list of methods"),
    Difference("archive", r"^archive again.error.message: .* archived already", _SAYS_WHY),
    Difference("archive", r"^unarchive again.error.message: .* is not archived", _SAYS_WHY),
    Difference("archive", r"^name.error.message: .* is archived", _SAYS_WHY),
    Difference("ephemeral", r"^fork.error.message: .* cannot be forked", _SAYS_WHY),
    Difference(
        "unused", r"^fork.error.message: .* has no history to fork", _SAYS_WHY, mode="legacy"
    ),
    Difference(
        "unused", r"^fork: result, ours .* no history", "a fork of nothing", mode="paginated"
    ),
    Difference(
        "unused", r"^turns.error", "the answer of all threads, as before 0.150", mode="paginated"
    ),
    Difference(
        "archive",
        r"(unarchive|resume).result.thread.name: x, ours NoneType",
        "0.131 refuses the name and keeps it all the same",
        mode="legacy",
    ),
    Difference(
        "metadata",
        r"^(set|clear).result.thread.canAcceptDirectInput",
        "a loaded thread says it everywhere but in lists",
        mode="paginated",
    ),
    Difference(
        "",
        r"^created_at next.result.data: \d+, ours \d+",
        "0.131 loses threads of the same second between pages",
        mode="legacy",
    ),
    Difference("", r"rootTurnId: ID, ours NoneType", "not kept with a turn yet", mode="paginated"),
    Difference("forks", r"originator: ", "a fork is ours, whoever asked for it", mode="paginated"),
)
