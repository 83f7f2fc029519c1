"""Threads that real Codex releases wrote: our answers are theirs, member by member."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.codex.model_server import ModelServer
from tests.codex.theirs import (
    differences,
    is_unknown,
    our_answers,
)
from tests.codex.theirs_scenes import Played, explained, play

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.codex.cells import Cells
    from tests.codex.releases import Release

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

ROWS = {
    "named, renamed": ("named", "renamed"),
    "named as the first message": ("named_as_message",),
    "git edits": ("git_edited", "git_branch_cleared", "git_all_cleared"),
    "credentials in the remote's URL": ("credentials",),
    "places in a repository": ("git_sub", "git_detached", "git_empty", "git_worktree"),
    "memory mode": ("memory_mode", "everything_edited", "memory_mode_then_git"),
    "archived, unarchived": ("archived", "archived_named", "unarchived"),
    "commands": ("tools",),
    "patches, plans, images viewed, web searches, parallel calls": ("toolbox",),
    "failed turns": ("failed",),
    "interrupted turn": ("interrupted",),
    "turn killed midway": ("killed", "killed_early"),
    "images": ("image", "image_only"),
    "unicode, odd texts": ("unicode", "padded_text", "long_text", "tagged_text", "blank_text"),
    "compaction": ("compacted",),
    "forks": ("fork_source", "fork", "fork_untouched"),
    "forks through and before a turn, forks of forks": (
        "fork_within_source",
        "fork_through",
        "fork_before",
        "fork_of_fork",
    ),
    "sub-agent tree": ("spawner", "helper"),
    "review": ("reviewed",),
    "torn last line": ("torn", "torn_resumed"),
    "resumed by a second process": ("resumed",),
    "changed settings": ("other_settings",),
    "injected items": ("injected", "injected_then_started"),
    "goals": ("goal_only", "goal_then_started"),
    "sections": ("in_section",),
    "command typed by the user": ("user_shell",),
    "codex exec": ("exec", "exec_tools", "exec_unicode"),
    "never started": ("named_before_start",),
}
"""Rows of the compatibility page and the examples that prove them."""

UNLISTED = {"named_before_start", "injected", "goal_only", "fork_untouched", "reverted_fork"}
"""Threads without a preview (the forks: to 0.160): Codex does not list them, we do."""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Callable[[str], Played]:
    """The home of a label such as ``0.169.0-legacy``, played once."""
    known: dict[str, Played] = {}

    def get(label: str) -> Played:
        if label not in known:
            with ModelServer() as model:  # of its own: held answers end with it
                known[label] = play(label, tmp_path_factory.mktemp("theirs"), model.url)
        return known[label]

    return get


@pytest.fixture(params=["", "-legacy"], ids=["default", "legacy"])
def home(
    request: pytest.FixtureRequest, release: Release, played: Callable[[str], Played]
) -> Played:
    """A home of the release as it is by itself, and one with legacy threads only."""
    return played(f"{release}{request.param if 'paginated' in release.modes else ''}")


async def test_every_answer_is_theirs_but_for_what_they_get_wrong(
    home: Played, release: Release, cells: Cells
) -> None:
    ours = await our_answers(home.home, home.answers)
    known = explained(home, release, differences(ours, home.answers), ours)
    silent = [name for name, i in home.recording.threads.items() if i not in home.answers.threads]
    for name in silent:
        assert await is_unknown(home.home, home.recording.threads[name])
    prefix = "legacy threads: " if home.recording.variant == "legacy" else ""
    for row, examples in ROWS.items():
        if any(example in home.recording.threads for example in examples):
            say(cells, prefix + row, known[row])
    say_about_reverts(home, cells, prefix)
    for row in ("thread/list field by field", "thread/read field by field"):
        say(cells, prefix + row, known[row])
    for row, where in (
        ("thread/turns/list field by field", home.answers.turn_pages),
        ("thread/items/list field by field", home.answers.items),
    ):
        if where:
            say(cells, prefix + row, known[row])
        else:
            cells.unsupported("theirs", prefix + row, "the release does not list them")


def say_about_reverts(home: Played, cells: Cells, prefix: str) -> None:
    """Newer releases revert, older ones roll back; neither can do both."""
    if list(home.home.glob("sessions/**/rollout-*_*.jsonl")):
        cells.works("theirs", prefix + "revert segments")
    elif "rolled_back" not in home.recording.missing:
        cells.works("theirs", prefix + "rollbacks")
        assert "reverted_twice" in home.recording.missing
        cells.unsupported("theirs", prefix + "revert segments", "the release only rolls back")


def say(cells: Cells, row: str, different: set[str]) -> None:
    """The cell of a row."""
    if different:
        cells.differs("theirs", row, "; ".join(sorted(different)))
    else:
        cells.works("theirs", row)


async def test_lists_have_their_order_by_every_key_and_more_threads(
    home: Played, release: Release, cells: Cells
) -> None:
    ours = await our_answers(home.home, home.answers)
    for order, threads in home.answers.lists.items():
        theirs = [thread["id"] for thread in threads]
        mine = [thread["id"] for thread in ours.lists[order]]
        more = {home.example(thread_id) for thread_id in mine if thread_id not in theirs}
        assert more <= UNLISTED
        assert [thread_id for thread_id in mine if thread_id in theirs] == theirs, order
    for key in ("created", "updated", "recency"):
        row = f"list order by {key}"
        if any(order[1].startswith(key) for order in home.answers.lists):
            cells.differs("theirs", row, "the same order; we also list threads without a preview")
        else:
            cells.unsupported("theirs", row, "the release has no such order")
