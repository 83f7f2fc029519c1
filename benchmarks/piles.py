"""Homes of many threads, and their copies for two servers, kept between runs.

What is in them depends on nothing but their size: threads of a few KB in a few folders a day, of
several working directories, providers and sources, some named, some archived, some compressed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.codex.app_server import AppServer, write_config

from benchmarks.homes import stamp, uuid7
from benchmarks.servers import CODEX, OURS, codex_binary
from benchmarks.sizes import CACHE
from threadstore.stores.local.codec import zstd

__all__ = ["copies", "empty_copies", "make_pile", "make_texts"]

_VERSION: Final = 2
"""Another number makes every cached home anew."""
_START: Final = 1_780_000_000_000
_STEP: Final = 263_000
"""Milliseconds from thread to thread: some 330 a day."""
_ENDS: Final = ["ation", "ing", "er", "s", "ed", "able", "ment", "ify", "less", "ful", "ist", "ity"]
_WORDS: Final = tuple(a + b for a in ("par", "ser", "tok", "en", "ind", "ex") for b in _ENDS)
_NOWHERE: Final = "http://127.0.0.1:9/v1"
_LOCAL: Final = f"""
[model_providers.local]
name = "Local"
base_url = "{_NOWHERE}"
wire_api = "responses"
"""
RARE: Final = "zebrafish"
"""In the text of one thread of all."""


def _line(kind: str, at: int, payload: dict[str, Any]) -> str:
    line = {"timestamp": stamp(at), "type": kind, "payload": payload}
    return json.dumps(line, separators=(",", ":"))


def _header(thread_id: str, at: int, rng: random.Random) -> str:
    return _line(
        "session_meta",
        at,
        {
            "id": thread_id,
            "timestamp": stamp(at),
            "cwd": f"/home/dev/project-{rng.randrange(40)}",
            "originator": "codex_cli_rs",
            "cli_version": "0.131.0",
            "source": rng.choice(("cli", "cli", "vscode", "exec")),
            "model_provider": rng.choice(("openai", "openai", "local")),
            "base_instructions": {"text": "You are a coding agent. " * 40},
            "git": {"commit_hash": f"{rng.getrandbits(160):040x}", "branch": "main"},
        },
    )


def _turn(at: int, number: int, said: str, answer: str) -> list[str]:
    """What one turn leaves in a legacy rollout, as far as lists, titles and searches look."""
    turn_id = f"turn-{number}"
    context = {
        "turn_id": turn_id,
        "cwd": "/home/dev",
        "approval_policy": "never",
        "sandbox_policy": {"type": "read-only"},
        "model": "gpt-5.1",
        "summary": "auto",
    }
    spoken = [
        {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
        for role, kind, text in (("user", "input_text", said), ("assistant", "output_text", answer))
    ]
    return [
        _line("event_msg", at, {"type": "task_started", "turn_id": turn_id, "started_at": 1}),
        _line("turn_context", at + 1, context),
        _line("response_item", at + 2, spoken[0]),
        _line("event_msg", at + 3, {"type": "user_message", "message": said, "images": []}),
        _line("response_item", at + 900, spoken[1]),
        _line("event_msg", at + 901, {"type": "agent_message", "message": answer}),
        _line("event_msg", at + 902, {"type": "task_complete", "turn_id": turn_id}),
    ]


def make_pile(home: str, threads: int, *, words: int = 60) -> None:
    """*threads* of one or two turns each."""
    rng = random.Random(7)
    names = []
    for number in range(threads):
        at = _START + number * _STEP
        thread_id = uuid7(at, number)
        lines = [_header(thread_id, at, rng)]
        for turn in range(1 + number % 2):
            text = " ".join(rng.choices(_WORDS, k=words))
            lines += _turn(at + 1000 * turn, turn, f"Task {number}: {text[:120]}", text)
        archived, compressed = number % 13 == 5, number % 31 == 7
        path = _path(home, at, thread_id, archived=archived)
        _write(path, lines, compressed=compressed)
        if number % 9 == 4:
            name = {"id": thread_id, "thread_name": f"Name {number}", "updated_at": stamp(at)}
            names.append(json.dumps(name))
    Path(home, "session_index.jsonl").write_text("".join(f"{name}\n" for name in names))


def make_texts(home: str, size: int) -> None:
    """About *size* bytes of what was said, in threads of 1 MB; one of them says ``RARE``."""
    rng = random.Random(11)
    threads = max(size // 1_000_000, 2)
    paragraphs = [" ".join(rng.choices(_WORDS, k=700)) for _ in range(200)]
    for number in range(threads):
        at = _START + number * _STEP
        thread_id = uuid7(at, number)
        lines, long = [_header(thread_id, at, rng)], 0
        while long < 1_000_000:
            text = rng.choice(paragraphs)
            if number == threads // 3 and len(lines) < 3:
                text = f"{text} {RARE} {text}"
            lines += _turn(at + len(lines) * 1000, len(lines), text[:200], text)
            long += 2 * len(text)  # as message and as event
        _write(_path(home, at, thread_id), lines)


def _write(path: str, lines: list[str], *, compressed: bool = False) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    data = ("\n".join(lines) + "\n").encode()
    with open(path + (".zst" if compressed else ""), "wb") as file:
        file.write(zstd.compress(data) if compressed else data)


def _path(home: str, at: int, thread_id: str, *, archived: bool = False) -> str:
    local = stamp(at)[:19].replace(":", "-")
    year, month, day = local[:10].split("-")
    folder = "archived_sessions" if archived else f"sessions/{year}/{month}/{day}"
    return f"{home}/{folder}/rollout-{local}-{thread_id}.jsonl"


def copies(name: str, fill: Callable[[str], object], *, linked: bool = False) -> tuple[Path, Path]:
    """The same home for our server and for Codex, each indexed by its own; kept in the cache.

    *linked*: both share the files of the rollouts, for homes whose rollouts nobody changes.
    """
    root = CACHE / "homes" / f"{name}-v{_VERSION}"
    if not (root / "complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        fill(str(root / "ours"))
        copy = os.link if linked else shutil.copy2
        shutil.copytree(root / "ours", root / "theirs", copy_function=copy)
        for home in (root / "ours", root / "theirs"):
            write_config(home, _NOWHERE, extra=_LOCAL)
        with AppServer(codex_binary(CODEX), root / "theirs", root, patience=900.0) as server:
            server.call("thread/list", limit=1, modelProviders=[])
        (root / "complete").touch()
    with AppServer(OURS, root / "ours", root, patience=900.0) as server:
        server.call("thread/list", limit=1, modelProviders=[])
    return root / "ours", root / "theirs"


def empty_copies(folder: str) -> tuple[Path, Path]:
    """Two homes with a configuration and nothing else."""
    homes = Path(folder) / "empty-ours", Path(folder) / "empty-theirs"
    for home in homes:
        write_config(home, _NOWHERE, extra=_LOCAL)
    return homes
