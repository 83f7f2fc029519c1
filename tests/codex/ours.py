"""A home with every shape of thread that threadstore writes, for real Codex releases to read."""

from __future__ import annotations

import base64
import os
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

from threadstore.clock import SystemClock
from threadstore.factory import open_store
from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.manager import ThreadManager
from threadstore.metadata import GitInfo, GitInfoPatch, NewThread, ThreadMetadataPatch, TokenUsage
from threadstore.testing import items

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from threadstore.metadata import StoredThread

GIT = GitInfo(
    sha="0123456789abcdef0123456789abcdef01234567",
    branch="main",
    origin_url="https://git.example.test/project.git",
)
EDITED = GitInfoPatch(sha="f" * 40, branch="edited", origin_url="https://git.example.test/new.git")

EDITS: dict[str, Sequence[ThreadMetadataPatch]] = {
    "plain": [],
    "named": [ThreadMetadataPatch(name="A name of its own")],
    "renamed": [ThreadMetadataPatch(name="First name"), ThreadMetadataPatch(name="Second 🚀")],
    "name_cleared": [ThreadMetadataPatch(name="Not for long"), ThreadMetadataPatch(name=None)],
    "git_set": [ThreadMetadataPatch(git=EDITED)],
    "git_cleared": [ThreadMetadataPatch(git=GitInfoPatch(branch=None))],
    "git_all_cleared": [
        ThreadMetadataPatch(git=GitInfoPatch(sha=None, branch=None, origin_url=None))
    ],
    "memory_mode": [ThreadMetadataPatch(memory_mode="disabled")],
    "all": [
        ThreadMetadataPatch(name="All edited"),
        ThreadMetadataPatch(git=GitInfoPatch(branch="edited")),
        ThreadMetadataPatch(memory_mode="disabled"),
    ],
    "archived": [ThreadMetadataPatch(name="Archived with a name")],
    "archived_unnamed": [],
    "unarchived": [],
    "unicode": [ThreadMetadataPatch(name="Grüße שלום 你好")],
}
"""What a user says about the thread of that name; all of them have two turns of text."""

ARCHIVED = ("archived", "archived_unnamed", "unarchived")
SPECIAL = (
    "tools",
    "compacted",
    "interrupted",
    "failed",
    "rolled_back",
    "image_url",
    "image_local",
    "image_only",
)
FAMILIES = {"parent": ("child", "named_child"), "archived_parent": ("archived_child",)}
"""Threads and those that they spawned."""
LONG_ITEMS = 5000

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
USAGE = TokenUsage(input_tokens=900, cached_input_tokens=100, output_tokens=90, total_tokens=990)


class Written(NamedTuple):
    """What was written: the threads by name, and the id of one that was deleted again."""

    threads: dict[str, StoredThread]
    deleted: str


async def write_threads(home: Path, cwd: Path) -> dict[str, StoredThread]:
    """A home full of threads of ours, by name; half of the edits on live, half on cold threads."""
    return (await write_home(home, cwd)).threads


async def write_home(home: Path, cwd: Path) -> Written:
    """The same, and the id of a thread that was named, edited and deleted."""
    ids: dict[str, str] = {}
    async with open_store(f"local:{home}") as store, ThreadManager(store) as manager:
        for number, (name, patches) in enumerate(EDITS.items()):
            ids[name] = await write(manager, two_turns(name, cwd), cwd=str(cwd), git=GIT)
            if number % 2:
                await manager.unload(ids[name])
            for patch in patches:
                await manager.update_thread_metadata(ids[name], patch)
        for name in SPECIAL:
            ids[name] = await write(manager, special(name, cwd), cwd=str(cwd))
        repository = make_repository(cwd / "repository")
        ids["repository"] = await write(
            manager, two_turns("repository", repository), cwd=str(repository)
        )
        await write_family(manager, ids, cwd)
        ids["long"] = await write(manager, long_history(cwd), cwd=str(cwd), git=GIT)
        for name in ARCHIVED:
            await manager.archive(ids[name])
        await manager.unarchive(ids["unarchived"])
        await manager.archive(ids["archived_parent"])
        ids["fork"] = (await manager.fork(ids["named"])).id
        first = (await store.list_turns(ids["named"], descending=False)).items[0].id
        ids["fork_of_first_turn"] = (await manager.fork(ids["named"], through_turn=first)).id
        ids["fork_of_archived"] = (await manager.fork(ids["archived_unnamed"])).id
        deleted = await write(manager, two_turns("deleted", cwd), cwd=str(cwd), git=GIT)
        for patch in EDITS["all"]:
            await manager.update_thread_metadata(deleted, patch)
        await manager.delete(deleted)
        await manager.close()
        threads = {name: await store.read_thread(thread_id) for name, thread_id in ids.items()}
    return Written(threads, deleted)


async def write(manager: ThreadManager, history: Sequence[RolloutItem], **new: Any) -> str:
    """A thread with that history, in batches as an agent would append them; its id."""
    live = await manager.create(NewThread(**{"source": "vscode", **new}))
    for start in range(0, len(history), 100):
        await live.append_items(history[start : start + 100])
    return live.id


async def write_family(manager: ThreadManager, ids: dict[str, str], cwd: Path) -> None:
    """A thread and two that it spawned, one of them with a name; a review; a second family."""
    for parent, children in FAMILIES.items():
        ids[parent] = await write(manager, two_turns(parent, cwd), cwd=str(cwd))
        for child in children:
            spawn = {
                "parent_thread_id": ids[parent],
                "depth": 1,
                "agent_path": None,
                "agent_nickname": "Mendel",
                "agent_role": "default",
            }
            ids[child] = await write(
                manager,
                two_turns(child, cwd),
                cwd=str(cwd),
                source={"subagent": {"thread_spawn": spawn}},
                thread_source="subagent",
            )
    name = ThreadMetadataPatch(name="A named child")
    await manager.update_thread_metadata(ids["named_child"], name)
    ids["review"] = await write(
        manager, two_turns("review", cwd), cwd=str(cwd), source={"subagent": "review"}
    )


def make_repository(folder: Path) -> Path:
    """A real repository with one commit and an origin, on the branch ``trunk``."""
    folder.mkdir(parents=True, exist_ok=True)
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.test")
    for arguments in (
        ("init", "-q", "-b", "trunk"),
        (*who, "commit", "-q", "--allow-empty", "-m", "first"),
        ("remote", "add", "origin", "https://user:secret@git.example.test/repository.git"),
    ):
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        subprocess.run(("git", *arguments), cwd=folder, check=True, env=environment)
    return folder


def two_turns(name: str, cwd: Path) -> list[RolloutItem]:
    """Two turns of text."""
    return [
        item
        for text in (f"First message of {name}: é 🚀", f"Second message of {name}")
        for item in text_turn(text, cwd)
    ]


def text_turn(text: str, cwd: Path) -> list[RolloutItem]:
    """A completed turn in which somebody says *text*."""
    at = SystemClock().now()
    return items.turn(new_thread_id(), text, f"Answer to {text}", at=at, usage=USAGE, cwd=str(cwd))


def long_history(cwd: Path) -> list[RolloutItem]:
    """``LONG_ITEMS`` items in turns of eight."""
    turns = (text_turn(f"Message {number} of many", cwd) for number in range(LONG_ITEMS // 8))
    return [item for turn in turns for item in turn]


def special(name: str, cwd: Path) -> list[RolloutItem]:
    """A history in which something special happens between two turns of text."""
    turn_id, text = new_thread_id(), f"Something special: {name}"
    start = [
        items.task_started(turn_id, at=SystemClock().now()),
        items.turn_context(turn_id=turn_id, cwd=str(cwd)),
    ]
    said = [items.user_response(text), items.user_message(text)]
    answer = [items.agent_message("Seen"), items.assistant_response("Seen")]
    end = items.task_complete(turn_id, message="Seen", at=SystemClock().now())
    middle = {
        "tools": [*start, *said, *tool_calls(), *answer, end],
        "compacted": [*start, *compaction(), end],
        "interrupted": [*start, *said, items.agent_message("I was just"), *interruption(turn_id)],
        "failed": [*start, *said, failure(turn_id)],
        "rolled_back": [*start, *said, *answer, end, items.thread_rolled_back(1)],
        "image_url": [*start, *picture(text, url=DATA_URL), *answer, end],
        "image_local": [*start, *picture(text, path=make_picture(cwd)), *answer, end],
        "image_only": [*start, *picture("", url=DATA_URL), *answer, end],
    }[name]
    before = [] if name == "image_only" else text_turn(f"Before {name}", cwd)
    return [*before, *middle, *text_turn(f"After {name}", cwd)]


def tool_calls() -> list[RolloutItem]:
    """A shell call with its output between thoughts, and a custom tool call."""
    thought = {"summary": [{"type": "summary_text", "text": "**Thinking**"}]}
    patch = "*** Begin Patch\n*** Add File: new.txt\n+new\n*** End Patch"
    return [
        items.event("agent_reasoning", text="**Thinking**"),
        items.response("reasoning", **thought, content=None, encrypted_content="c2NyaXB0ZWQ="),
        items.function_call("call-1", "exec_command", '{"cmd":"echo from-a-tool-call"}'),
        items.function_call_output("call-1", "from-a-tool-output"),
        items.response(
            "custom_tool_call",
            status="completed",
            call_id="call-2",
            name="apply_patch",
            input=patch,
        ),
        items.response("custom_tool_call_output", call_id="call-2", output="Patched"),
    ]


def compaction() -> list[RolloutItem]:
    """A compaction as 0.131 writes it: what replaces the history, then the event."""
    summary = items.user_response("Summary of what was before").payload
    payload = {"message": "Summary of what was before", "replacement_history": [summary]}
    return [RolloutItem("compacted", payload), items.event("context_compacted")]


def interruption(turn_id: str) -> list[RolloutItem]:
    """What the model is told about an interruption, and the event."""
    told = "<turn_aborted>\nThe user interrupted the previous turn on purpose.\n</turn_aborted>"
    end = items.event(
        "turn_aborted", turn_id=turn_id, reason="interrupted", completed_at=now(), duration_ms=7
    )
    return [items.user_response(told), end]


def failure(turn_id: str) -> RolloutItem:
    """The end of a turn that failed."""
    error = {"message": "the model is overloaded", "codex_error_info": "server_overloaded"}
    return items.event(
        "task_complete",
        turn_id=turn_id,
        last_agent_message=None,
        error=error,
        completed_at=now(),
        duration_ms=7,
    )


def now() -> int:
    """The time in whole seconds."""
    return int(SystemClock().now().timestamp())


def picture(text: str, *, url: str | None = None, path: str | None = None) -> list[RolloutItem]:
    """What somebody says with a picture, as the model and as the user sees it."""
    label = "<image>" if path is None else "<image name=[Image #1]>"
    content = [
        {"type": "input_text", "text": label},
        {"type": "input_image", "image_url": DATA_URL, "detail": "high"},
        {"type": "input_text", "text": "</image>"},
        *([{"type": "input_text", "text": text}] if text else []),
    ]
    return [
        items.response("message", role="user", content=content),
        items.event(
            "user_message",
            message=text,
            images=[url] if url else [],
            local_images=[path] if path else [],
            text_elements=[],
        ),
    ]


def make_picture(cwd: Path) -> str:
    """The path of a picture in the working directory."""
    path = cwd / "dot.png"
    path.write_bytes(PNG)
    return str(path)
