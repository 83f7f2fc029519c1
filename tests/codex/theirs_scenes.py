"""Homes that a release writes for itself: the recorded scenes, and some that need more."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from tests.codex.app_server import RpcError, environment
from tests.codex.theirs import KNOWN, OLDER_MEMBERS, Answers, Difference, codex_answers
from tools.golden.recording import Recording
from tools.golden.scenes import SCENES, SPEAKING, exec_runs, killed, second_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.codex.app_server import AppServer
    from tests.codex.releases import Release


class Played(NamedTuple):
    """A home after all scenes, and what a fresh process says about it."""

    recording: Recording
    answers: Answers

    @property
    def home(self) -> Path:
        return self.recording.home

    def example(self, thread_id: str) -> str:
        """What the thread is an example of; helpers have names of their own."""
        examples = {known: name for name, known in self.recording.threads.items()}
        return examples.get(thread_id, "helper")


def play(label: str, work: Path, model_url: str) -> Played:
    """Play every scene that the release can, and ask a fresh process about all threads."""
    recording = Recording(label, work, model_url)
    with recording.serve() as server:
        for scene in (*SCENES, *MORE_SCENES):
            try_scene(scene, recording, server)
    killed(recording)
    killed_early(recording)
    second_process(recording)
    exec_runs(recording)
    return ask(recording)


def try_scene(
    scene: Callable[[Recording, AppServer], None], recording: Recording, server: AppServer
) -> None:
    """Play a scene; a method that the release does not have ends it and is noted."""
    try:
        scene(recording, server)
    except RpcError as error:
        recording.missing[scene.__name__] = str(error)


def ask(recording: Recording) -> Played:
    """What a fresh process says about the home as it is."""
    with recording.serve() as server:
        return Played(recording, codex_answers(server, recording.threads.values()))


def explained(
    home: Played, release: Release, found: list[Difference], ours: Answers
) -> dict[str, set[str]]:
    """The rows and what differs there as it should; anything else fails."""
    known: dict[str, set[str]] = defaultdict(set)
    unknown = []
    for difference in found:
        for reason in (*KNOWN, *([] if release >= (0, 169, 0) else [OLDER_MEMBERS])):
            if reason.holds(difference, ours, home.answers):
                if not reason.by_chance:
                    known[reason.row].add(reason.what)
                break
        else:
            unknown.append((home.example(difference.thread_id), *difference[1:]))
    assert not unknown, unknown
    return known


def toolbox(r: Recording, s: AppServer) -> None:
    s.run_turn(r.start(s, "toolbox"), "Try everything [scene toolbox]")


def forked_within(r: Recording, s: AppServer) -> None:
    source = r.start(s, "fork_within_source", "repo")
    turns = [s.run_turn(source, f"Turn {number} [scene tool]") for number in range(3)]
    for example, boundary in (
        ("fork_through", {"lastTurnId": turns[0]}),
        ("fork_before", {"beforeTurnId": turns[2]}),
    ):
        r.threads[example] = fork = s.call("thread/fork", threadId=source, **boundary)["thread"][
            "id"
        ]
        s.run_turn(fork, f"The first of {example} [scene pair]")
    fork = s.call("thread/fork", threadId=r.threads["fork_before"])["thread"]["id"]
    r.threads["fork_of_fork"] = fork
    s.run_turn(fork, "Two generations later [scene plain]")
    s.run_turn(source, "The source goes on [scene plain]")


def reverted_twice(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "reverted_twice")
    turns = [s.run_turn(thread_id, f"Turn {number} [scene tool]") for number in range(2)]
    s.call("thread/revert", threadId=thread_id, beforeTurnId=turns[1])
    again = s.run_turn(thread_id, "The second once more [scene pair]")
    s.call("thread/revert", threadId=thread_id, beforeTurnId=again)
    s.run_turn(thread_id, "And once more [scene plain]")
    r.threads["reverted_fork"] = s.call("thread/fork", threadId=thread_id)["thread"]["id"]


def killed_early(r: Recording) -> None:
    """Ends in the middle of the first turn of a thread."""
    with r.serve() as server:
        thread_id = r.start(server, "killed_early")
        seen = server.seen()
        server.start_turn(thread_id, "Killed at once [scene hold]")
        server.wait_notification(lambda note: note["method"] in SPEAKING, seen)
        server.kill()


MORE_SCENES = (toolbox, forked_within, reverted_twice)


def migrate(recording: Recording) -> str:
    """``codex migrate-rollouts --apply``: legacy threads become paginated; its output."""
    done = subprocess.run(
        [recording.binary, "migrate-rollouts", "--apply", "--json"],
        cwd=recording.folders / "plain",
        env=environment(recording.home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
