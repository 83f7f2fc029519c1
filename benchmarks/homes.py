"""Homes to measure on, made of plain files as Codex would have written them."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import random
import uuid

__all__ = ["make_history", "make_home", "rollout_lines", "stamp", "uuid7"]

_START = 1_790_000_000_000


def stamp(ms: int) -> str:
    """A time as rollouts write it."""
    moment = dt.datetime.fromtimestamp(ms / 1000, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}Z"


def uuid7(ms: int, number: int) -> str:
    """A thread id of that time."""
    return str(uuid.UUID(int=(ms << 80) | (0x7 << 76) | (0b10 << 62) | number))


def rollout_lines(
    thread_id: str, started_ms: int, rng: random.Random, turns: int, *, words: int = 40
) -> list[str]:
    """A legacy rollout in the shapes of Codex 0.131."""

    moments = itertools.count(started_ms, 40)

    def line(kind: str, payload: dict[str, object]) -> str:
        at = stamp(next(moments))
        return json.dumps(
            {"timestamp": at, "type": kind, "payload": payload}, separators=(",", ":")
        )

    output = [f"line of output {rng.randrange(10**6)}" for _ in range(180)]
    said = [f"word{rng.randrange(5000)}" for _ in range(words)]
    lines = [
        line(
            "session_meta",
            {
                "id": thread_id,
                "timestamp": stamp(started_ms),
                "cwd": f"/home/dev/project-{rng.randrange(40)}",
                "originator": "codex_cli_rs",
                "cli_version": "0.131.0",
                "source": rng.choice(["cli", "vscode", "exec"]),
                "model_provider": rng.choice(["openai", "local"]),
                "base_instructions": {"text": "You are a coding agent. " * 60},
                "git": {"commit_hash": "1" * 40, "branch": "main"},
            },
        )
    ]
    for turn in range(turns):
        turn_id = str(uuid.UUID(int=rng.getrandbits(128)))
        text = f"Turn {turn}: " + " ".join(said)
        lines += [
            line("event_msg", {"type": "task_started", "turn_id": turn_id, "started_at": 1}),
            line(
                "turn_context",
                {
                    "turn_id": turn_id,
                    "cwd": "/home/dev",
                    "approval_policy": "never",
                    "sandbox_policy": {"type": "read-only"},
                    "model": "gpt-5.1",
                    "summary": "auto",
                },
            ),
            line(
                "response_item",
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": text}],
                },
            ),
            line("event_msg", {"type": "user_message", "message": text, "images": []}),
            line(
                "response_item",
                {
                    "type": "reasoning",
                    "summary": [],
                    "content": None,
                    "encrypted_content": "".join(rng.choices("ABCDEFabcdef0123", k=4_000)),
                },
            ),
            line(
                "response_item",
                {"type": "function_call", "name": "shell", "arguments": "{}", "call_id": turn_id},
            ),
            line(
                "response_item",
                {
                    "type": "function_call_output",
                    "call_id": turn_id,
                    "output": "\n".join(f"{number:4} {word}" for number, word in enumerate(output)),
                },
            ),
            line("event_msg", {"type": "agent_message", "message": text[::-1]}),
            line(
                "event_msg",
                {
                    "type": "token_count",
                    "info": {
                        "total_token_usage": {"total_tokens": 100 * (turn + 1)},
                        "last_token_usage": {"total_tokens": 100},
                        "model_context_window": 258400,
                    },
                    "rate_limits": None,
                },
            ),
            line("event_msg", {"type": "task_complete", "turn_id": turn_id}),
        ]
    return lines


def make_home(home: str, threads: int, *, turns: int = 2, seed: int = 7) -> None:
    """*threads* small rollouts spread over days, and nothing else."""
    rng = random.Random(seed)
    for number in range(threads):
        started = _START + number * 311_000
        thread_id = uuid7(started, number)
        path = _path(home, started, thread_id)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(rollout_lines(thread_id, started, rng, turns)) + "\n")


def make_history(home: str, size: int, *, seed: int = 7, number: int = 1) -> tuple[str, str]:
    """One rollout of about *size* bytes; its id and path."""
    rng = random.Random(seed)
    started = _START + (number - 1) * 60_000
    thread_id = uuid7(started, number)
    path = _path(home, started, thread_id)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    block = rollout_lines(thread_id, started, rng, 200, words=110)
    with open(path, "w", encoding="utf-8") as file:
        file.write(block[0] + "\n")
        body = "\n".join(block[1:]) + "\n"
        while file.tell() < size:
            file.write(body)
    return thread_id, path


def _path(home: str, started_ms: int, thread_id: str) -> str:
    at = stamp(started_ms)[:19].replace(":", "-")
    year, month, day = at[:10].split("-")
    return f"{home}/sessions/{year}/{month}/{day}/rollout-{at}-{thread_id}.jsonl"
