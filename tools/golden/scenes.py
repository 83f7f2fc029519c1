"""What is recorded. Each scene is an example of one thing; a release without a method skips it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.codex.app_server import AppServer, RpcError, run_exec

if TYPE_CHECKING:
    from tools.golden.recording import Recording


SPEAKING = ("item/agentMessage/delta", "codex/event/agent_message_content_delta")


def plain(r: Recording, s: AppServer) -> None:
    s.run_turn(r.start(s, "plain"), "Say hello [scene plain]\nand this is a second line")


def tools(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "tools", "repo")
    s.run_turn(thread_id, "Run a command [scene tool]")
    s.run_turn(thread_id, "Run two [scene pair]")


def same_second(r: Recording, s: AppServer) -> None:
    for number in range(4):
        s.run_turn(r.start(s, f"same_second_{number}"), f"Quick thread {number} [scene plain]")


def failed(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "failed")
    s.run_turn(thread_id, "This one fails [scene fail]")
    s.run_turn(thread_id, "This one is refused [scene refuse]")
    s.run_turn(thread_id, "This one works [scene plain]")


def interrupted(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "interrupted")
    seen = s.seen()
    turn_id = s.start_turn(thread_id, "Start and hold [scene hold]")
    s.wait_notification(lambda note: note["method"] in SPEAKING, seen)
    s.call("turn/interrupt", threadId=thread_id, turnId=turn_id)
    s.wait_turn(thread_id, seen)
    s.run_turn(thread_id, "Go on after the interruption [scene plain]")


def images(r: Recording, s: AppServer) -> None:
    picture = {"type": "localImage", "path": str(r.folders / "plain" / "dot.png")}
    text = {"type": "text", "text": "What is in this picture? [scene plain]"}
    s.run_turn(r.start(s, "image"), [text, picture])
    s.run_turn(r.start(s, "image_only"), [picture])


def unicode(r: Recording, s: AppServer) -> None:
    s.run_turn(r.start(s, "unicode", "ünï 目录"), "Grüße 🚀 שלום [scene unicode]")


def credentials(r: Recording, s: AppServer) -> None:
    s.run_turn(r.start(s, "credentials", "credentials"), "A secret remote [scene plain]")


def compacted(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "compacted")
    s.run_turn(thread_id, "Before compaction [scene tool]")
    seen = s.seen()
    s.call("thread/compact/start", threadId=thread_id)
    s.wait_turn(thread_id, seen)
    s.run_turn(thread_id, "After compaction [scene plain]")


def rolled_back(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "rolled_back")
    turns = [s.run_turn(thread_id, f"Turn {number} [scene tool]") for number in range(3)]
    try:
        s.call("thread/revert", threadId=thread_id, beforeTurnId=turns[1])
    except RpcError:
        roll_back(s, thread_id)
    s.run_turn(thread_id, "After going back [scene plain]")


def roll_back(s: AppServer, thread_id: str) -> None:
    """Drop two turns; some releases say "in progress" for a moment after a turn's end."""

    def accepted() -> bool:
        try:
            s.call("thread/rollback", threadId=thread_id, numTurns=2)
        except RpcError as error:
            if "in progress" in error.message:
                return False
            raise
        return True

    s.wait_until(accepted)


def named(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "named")
    s.run_turn(thread_id, "Name me [scene plain]")
    s.call("thread/name/set", threadId=thread_id, name="A name of its own 🚀")
    thread_id = r.start(s, "renamed")
    s.run_turn(thread_id, "Name me twice [scene plain]")
    s.call("thread/name/set", threadId=thread_id, name="First name")
    s.call("thread/name/set", threadId=thread_id, name="  Second name  ")
    s.run_turn(thread_id, "And go on [scene plain]")


def named_as_message(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "named_as_message")
    s.run_turn(thread_id, "Just this text")
    s.call("thread/name/set", threadId=thread_id, name="Just this text")


def named_before_start(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "named_before_start")
    s.call("thread/name/set", threadId=thread_id, name="Named before its first turn")


def git_edits(r: Recording, s: AppServer) -> None:
    sha = "0123456789abcdef0123456789abcdef01234567"
    edit = {"branch": "edited", "sha": sha, "originUrl": "https://git.example.test/edited.git"}
    for example in ("git_edited", "git_branch_cleared"):
        thread_id = r.start(s, example, "repo")
        s.run_turn(thread_id, f"Example {example} [scene plain]")
        s.call("thread/metadata/update", threadId=thread_id, gitInfo=edit)
    s.call("thread/metadata/update", threadId=thread_id, gitInfo={"branch": None})
    thread_id = r.start(s, "git_all_cleared", "repo")
    s.run_turn(thread_id, "Forget the repository [scene plain]")
    nothing = dict.fromkeys(edit)
    s.call("thread/metadata/update", threadId=thread_id, gitInfo=nothing)


def memory_mode(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "memory_mode", "repo")
    s.run_turn(thread_id, "Forget me [scene plain]")
    s.call("thread/memoryMode/set", threadId=thread_id, mode="disabled")


def everything_edited(r: Recording, s: AppServer) -> None:
    """A name, then git, then the memory mode: 0.131 loses the name from its own table."""
    thread_id = r.start(s, "everything_edited", "repo")
    s.run_turn(thread_id, "Edit all of me [scene plain]")
    s.call("thread/name/set", threadId=thread_id, name="Edited in every way")
    s.call("thread/metadata/update", threadId=thread_id, gitInfo={"branch": "edited"})
    s.call("thread/memoryMode/set", threadId=thread_id, mode="disabled")


def memory_mode_then_git(r: Recording, s: AppServer) -> None:
    """The other way round: 0.121 writes the first one's line with the Git facts of the start."""
    thread_id = r.start(s, "memory_mode_then_git", "repo")
    s.run_turn(thread_id, "Edit me the other way round [scene plain]")
    s.call("thread/memoryMode/set", threadId=thread_id, mode="disabled")
    s.call("thread/metadata/update", threadId=thread_id, gitInfo={"branch": "edited"})


def archived(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "archived", "repo")
    s.run_turn(thread_id, "Archive me [scene tool]")
    s.call("thread/archive", threadId=thread_id)


def archived_named(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "archived_named")
    s.run_turn(thread_id, "Archive me too [scene plain]")
    s.call("thread/name/set", threadId=thread_id, name="Archived with a name")
    s.call("thread/archive", threadId=thread_id)


def unarchived(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "unarchived")
    s.run_turn(thread_id, "Archive me and bring me back [scene plain]")
    s.call("thread/archive", threadId=thread_id)
    s.call("thread/unarchive", threadId=thread_id)


def forked(r: Recording, s: AppServer) -> None:
    source = r.start(s, "fork_source", "repo")
    s.run_turn(source, "Fork from here [scene tool]")
    s.run_turn(source, "Second turn of the source [scene plain]")
    for example in ("fork_untouched", "fork"):
        r.threads[example] = str(s.call("thread/fork", threadId=source)["thread"]["id"])
    s.run_turn(r.threads["fork"], "First turn of the fork [scene plain]")
    s.run_turn(source, "Third turn of the source [scene plain]")


def spawned(r: Recording, s: AppServer) -> None:
    s.run_turn(r.start(s, "spawner", "repo"), "Ask a helper [scene spawn]")


def torn(r: Recording, s: AppServer) -> None:
    for example in ("torn", "torn_resumed"):
        s.run_turn(r.start(s, example), f"Example {example} [scene plain]")


def resumed(r: Recording, s: AppServer) -> None:
    s.run_turn(r.start(s, "resumed", "repo"), "First process [scene tool]")


def odd_texts(r: Recording, s: AppServer) -> None:
    s.run_turn(r.start(s, "padded_text"), "\n\t  Blank around me  \n\n")
    s.run_turn(r.start(s, "long_text"), "A long first message. " * 60)
    tagged = "<user_instructions>not really</user_instructions> [scene plain]"
    s.run_turn(r.start(s, "tagged_text"), tagged)
    thread_id = r.start(s, "blank_text")
    s.run_turn(thread_id, "  ")
    s.run_turn(thread_id, "Only the second one says something")


def git_places(r: Recording, s: AppServer) -> None:
    for folder in ("repo/sub", "detached", "empty", "worktree"):
        example = f"git_{folder.rpartition('/')[2]}"
        s.run_turn(r.start(s, example, folder), f"Example {example} [scene plain]")


def other_settings(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "other_settings")
    s.run_turn(thread_id, "Settings of the start [scene plain]")
    changed = {"effort": "high", "summary": "concise", "approvalPolicy": "on-request"}
    s.run_turn(thread_id, "Others [scene plain]", cwd=str(r.folders / "repo"), **changed)


def injected(r: Recording, s: AppServer) -> None:
    content = [{"type": "input_text", "text": "Injected before any turn"}]
    item = {"type": "message", "role": "user", "content": content}
    for example in ("injected", "injected_then_started"):
        s.call("thread/inject_items", threadId=r.start(s, example), items=[item])
    s.run_turn(r.threads["injected_then_started"], "Now a real turn [scene plain]")


def goals(r: Recording, s: AppServer) -> None:
    for example in ("goal_only", "goal_then_started"):
        goal = {"objective": f"Reach {example}", "status": "paused"}
        s.call("thread/goal/set", threadId=r.start(s, example), **goal)
    s.run_turn(r.threads["goal_then_started"], "Work on it [scene plain]")


def reviewed(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "reviewed", "repo")
    s.run_turn(thread_id, "Before the review [scene plain]")
    seen = s.seen()
    target = {"type": "custom", "instructions": "Review nothing [scene plain]"}
    s.call("review/start", threadId=thread_id, target=target)
    s.wait_turn(thread_id, seen)


def sections(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "in_section")
    s.run_turn(thread_id, "Put me into a section [scene plain]")
    section = s.call("threadSection/create", name="Favourites")["section"]
    s.call("thread/section/move", threadId=thread_id, sectionId=section["id"])


def user_shell(r: Recording, s: AppServer) -> None:
    thread_id = r.start(s, "user_shell")
    seen = s.seen()
    s.call("thread/shellCommand", threadId=thread_id, command="echo typed by the user")
    s.wait_notification(lambda note: note["method"] == "turn/completed", seen)
    s.run_turn(thread_id, "After a command of mine [scene plain]")


def killed(r: Recording) -> None:
    """A process that ends in the middle of an answer, without a chance to write anything."""
    with r.serve() as server:
        thread_id = r.start(server, "killed", "repo")
        server.run_turn(thread_id, "A good turn [scene tool]")
        seen = server.seen()
        server.start_turn(thread_id, "Killed in this one [scene hold]")
        server.wait_notification(lambda note: note["method"] in SPEAKING, seen)
        server.kill()


SCENES = (
    plain, tools, same_second, failed, interrupted, images, unicode, credentials, compacted,
    rolled_back, named, named_as_message, named_before_start, git_edits, memory_mode,
    everything_edited, memory_mode_then_git, archived, archived_named, unarchived, forked, spawned,
    torn, resumed, odd_texts, git_places, other_settings, injected, goals, reviewed, sections,
    user_shell,
)  # fmt: skip


def second_process(r: Recording) -> None:
    """Damage two files as a crash would, then go on with two threads in another process."""
    for example in ("torn", "torn_resumed"):
        if example in r.threads:
            with r.rollout(r.threads[example]).open("ab") as file:
                file.write(b'{"timestamp":"2026-01-01T00:00:00.000Z","type":"event_msg","payl')
    with r.serve() as server:
        for example in ("torn_resumed", "resumed"):
            if example in r.threads:
                server.call("thread/resume", threadId=r.threads[example])
                server.run_turn(r.threads[example], "Second process [scene plain]")


def edit_after_upgrade(r: Recording) -> None:
    """The same edits as before, by a newer release on threads of the older one."""
    with r.serve() as server:
        server.call("thread/name/set", threadId=r.threads["plain"], name="Named after the upgrade")
        edit = {"branch": "edited-after-upgrade"}
        server.call("thread/metadata/update", threadId=r.threads["tools"], gitInfo=edit)
        server.call("thread/memoryMode/set", threadId=r.threads["failed"], mode="disabled")
        server.call("thread/archive", threadId=r.threads["unicode"])
        server.call("thread/unarchive", threadId=r.threads["archived"])


def exec_runs(r: Recording) -> None:
    """``codex exec``: the only face of the oldest releases."""
    for example, folder, prompt in (
        ("exec", "plain", "Exec says hello [scene plain]\nand this is a second line"),
        ("exec_tools", "repo", "Exec runs a command [scene tool]"),
        ("exec_unicode", "ünï 目录", "Grüße 🚀 שלום [scene unicode]"),
    ):
        before = set(r.home.glob("sessions/**/*.jsonl"))
        run_exec(r.binary, r.home, r.folders / folder, prompt)
        (path,) = set(r.home.glob("sessions/**/*.jsonl")) - before
        r.threads[example], r.prompts[example] = path.stem[-36:], prompt


def compressed(r: Recording) -> None:
    """Let the release compress old files: legacy, paginated and archived ones."""
    with r.serve() as server:
        for example in ("legacy", "paginated", "archived", "unicode"):
            mode = "legacy" if example == "legacy" else "paginated"
            thread_id = server.start_thread(r.folders / "repo", historyMode=mode)
            r.threads[example] = thread_id
            scene = "unicode" if example == "unicode" else "tool"
            server.run_turn(thread_id, f"Compress this {example} thread [scene {scene}]")
        server.call("thread/name/set", threadId=r.threads["legacy"], name="Compressed")
        server.call("thread/archive", threadId=r.threads["archived"])
    month = 30 * 86_400
    for path in r.home.glob("*sessions/**/*.jsonl"):
        age = path.stat().st_mtime - month
        os.utime(path, (age, age))
    r.configure("[features]\nlocal_thread_store_compression = true\n")
    with r.serve() as server:
        server.call("rollout/compress")
        server.wait_until(lambda: not list(r.home.glob("*sessions/**/*.jsonl")))
    r.configure()
