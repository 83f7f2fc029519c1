"""What a release says about its own home, and where that is kept."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from typing import TYPE_CHECKING, Any

from tests.codex.app_server import AppServer, Json, RpcError
from tests.codex.install import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tools.golden.recording import Recording

GOLDEN = REPOSITORY / "tests" / "golden"
SOURCE_KINDS = [
    *("cli", "vscode", "exec", "appServer", "unknown", "subAgent", "subAgentReview"),
    *("subAgentCompact", "subAgentThreadSpawn", "subAgentOther"),
]
DROPPED_MEMBERS = ("path", "status", "ephemeral", "environments")
DROPPED_COLUMNS = ("id", "rollout_path", "sandbox_policy", "cwd", "created_at", "updated_at")
"""What says nothing that is not elsewhere in the answers or the home."""
FIRST_WITH_LIST_OPTIONS = (0, 100, 0)
"""Earlier ones ignore ``archived`` and ``sortKey``."""
KEPT = ("sessions", "archived_sessions", "session_index.jsonl")


def ask(r: Recording) -> Json:
    """Lists and threads, as a fresh process of the release answers them."""
    lists: dict[str, dict[str, list[str]]] = {"active": {}}
    keys = ["created_at"]
    if r.number >= FIRST_WITH_LIST_OPTIONS:
        lists["archived"] = {}
        keys += ["updated_at", "recency_at"]
    threads: dict[str, Json] = {}
    with r.serve() as server:
        for name, by_key in lists.items():
            for key in keys:
                try:
                    listed = list_all(server, archived=name == "archived", sortKey=key)
                except RpcError as error:
                    r.missing[f"list by {key}"] = str(error)[:100]
                    continue
                by_key[key] = [thread["id"] for thread in listed]
                threads |= {thread["id"]: without_nulls(thread) for thread in listed}
        for thread_id in {**dict.fromkeys(r.threads.values()), **dict.fromkeys(threads)}:
            thread = read(server, thread_id)
            threads[thread_id] = {**thread, **threads.get(thread_id, {})}
            threads[thread_id]["turns"] = brief(thread.get("turns"))
    return {"lists": lists, "threads": threads}


def ask_for_turns(r: Recording, answers: Json) -> None:
    """Releases without ``thread/read`` tell the turns on resume, which may write to the home."""
    with r.serve() as server:
        for thread_id, thread in answers["threads"].items():
            if "unknown variant" in thread.get("readError", ""):
                try:
                    resumed = server.call("thread/resume", threadId=thread_id)
                except RpcError as error:
                    thread["readError"] = str(error)[:100]
                else:
                    # 0.57 has the field and leaves it empty.
                    thread["turns"] = brief(resumed["thread"].get("turns")) or None


def brief(turns: list[Json] | None) -> list[Json] | None:
    """The turns, of their items what was said and else the type."""
    if turns is None:
        return None
    kept = ("id", "status", "error", "startedAt", "completedAt", "durationMs")
    return [
        {
            **{key: turn[key] for key in kept if turn.get(key) is not None},
            "items": [said(item) for item in turn["items"]],
        }
        for turn in turns
    ]


def said(item: Json) -> Json:
    """An item with its text, or with the parts of a user's message."""
    if item["type"] == "agentMessage":
        return {"type": item["type"], "text": item["text"]}
    if item["type"] == "userMessage":
        parts = [
            {k: part[k] for k in ("type", "text", "path") if k in part} for part in item["content"]
        ]
        return {"type": item["type"], "content": parts}
    return {"type": item["type"]}


def without_nulls(value: Any) -> Any:
    """The same JSON without members that are null, which say nothing."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def list_all(server: AppServer, **params: Any) -> list[Json]:
    """Every thread in one page: the cursors of some releases skip threads."""
    answer = server.call(
        "thread/list", limit=100, modelProviders=[], sourceKinds=SOURCE_KINDS, **params
    )
    assert answer.get("nextCursor") is None, "more than one page"
    return list(answer["data"])


def read(server: AppServer, thread_id: str) -> Json:
    """The thread with its turns, or what the release says instead."""
    try:
        answer = server.call("thread/read", threadId=thread_id, includeTurns=True)
    except RpcError as error:
        return {"readError": str(error)[:100]}
    return dict(without_nulls(answer["thread"]))


def rows(database: Path) -> dict[str, Json]:
    """The rows of the ``threads`` table, without empty columns."""
    if not database.exists():
        return {}
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        cursor = connection.execute("SELECT * FROM threads ORDER BY id")
        columns = [column for column, *_ in cursor.description]
        found = [dict(zip(columns, values, strict=True)) for values in cursor]
    finally:
        connection.close()
    return {
        row["id"]: without_nulls({k: v for k, v in row.items() if k not in DROPPED_COLUMNS})
        for row in found
    }


def save_home(r: Recording) -> None:
    """Write ``home.tar.xz`` (an archive keeps times and modes, which Git does not)."""
    target = GOLDEN / r.label
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if r.database.exists():
        back_up(r.database, r.copy)
    with tarfile.open(target / "home.tar.xz", "w:xz", preset=9) as archive:
        for name in KEPT:
            if r.home.joinpath(name).exists():
                archive.add(r.home / name, name, filter=anonymous)
        if r.copy.exists():
            archive.add(r.copy, r.database.name, filter=anonymous)


def save_answers(r: Recording, answers: Json) -> None:
    """Write ``answers.json``, one thread a line."""
    facts = {
        "version": r.version,
        "home": str(r.home),
        "folders": str(r.folders),
        "examples": r.threads,
        "prompts": r.prompts,
        "missing": r.missing,
        **answers,
        "rows": rows(r.copy),
    }
    for thread in answers["threads"].values():
        for member in DROPPED_MEMBERS:
            thread.pop(member, None)
    lines = ",\n".join(f"{json.dumps(key)}: {spread(value)}" for key, value in facts.items())
    (GOLDEN / r.label / "answers.json").write_text("{" + lines + "}\n", encoding="utf-8")


def spread(value: Any) -> str:
    """JSON with one member of an object a line."""
    if not isinstance(value, dict):
        return json.dumps(value)
    members = (f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items())
    return "{\n " + ",\n ".join(members) + "}"


def back_up(database: Path, copy: Path) -> None:
    """A consistent copy without ``-wal`` and ``-shm`` files, through SQLite itself."""
    source, target = sqlite3.connect(database), sqlite3.connect(copy)
    try:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
        target.execute("VACUUM")
    finally:
        target.close()
        source.close()


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Times and modes count, owners do not."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
