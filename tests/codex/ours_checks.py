"""What Codex must say about the threads of ``ours.py``, and what its model must hear."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
from tests.codex.comparing import differences
from tests.codex.ours import GIT

from threadstore.protocol.codex_thread import protocol_thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.codex.app_server import AppServer, Json

    from threadstore.history.items import RolloutItem
    from threadstore.metadata import StoredThread

SOURCE_KINDS = ("cli", "vscode", "exec", "subAgent")
TIMES = ("createdAt", "updatedAt", "recencyAt")
LEFT_OUT_OF_LISTS = {"forkedFromId", "threadSource"}
"""What the releases do not say in lists, of threads of their own neither."""
LEFT_OUT_OF_ROWS = {*LEFT_OUT_OF_LISTS, "parentThreadId"}
"""The same for lists that look at the database only."""


def like(ours: Any, theirs: Any) -> Any:
    """*ours*, reduced to the members that *theirs* has: older releases know fewer."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {key: like(value, theirs[key]) for key, value in ours.items() if key in theirs}
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [like(mine, other) for mine, other in zip(ours, theirs, strict=True)]
    return ours


def check_thread(name: str, thread: StoredThread, theirs: Json, **known: Any) -> None:
    """Codex says all that we say; *known*: what it says otherwise, and why stands there."""
    if name == "image_only":
        # Codex takes a title that is not the first message for a name (its own threads as well).
        known["name"] = "After image_only"
    ours = {**protocol_thread(thread), **known}
    skipped = {"turns", "status", *TIMES}
    wanted = {key: value for key, value in like(ours, theirs).items() if key not in skipped}
    found = {key: value for key, value in theirs.items() if key not in skipped}
    unequal = differences({name: wanted}, {name: found})
    assert not unequal, unequal
    assert sorted(found) == sorted(wanted), name
    for key in theirs.keys() & set(TIMES):
        moments = [ours[key]]
        if key == "updatedAt":  # edits of Git facts and memory mode write, and count in some lists
            moments.append(written_at(thread))
        # 0.131 moves the "updated at" of threads in one second by some ms, to tell them apart.
        assert any(abs(theirs[key] - moment) <= 1 for moment in moments), (name, key, moments)


def written_at(thread: StoredThread) -> int:
    """When its file was written last, in whole seconds."""
    return int(Path(thread.rollout_path or "").stat().st_mtime)


def check_listed(name: str, thread: StoredThread, theirs: Json, *, filled: bool = True) -> None:
    """The same for a list. *filled*: the release fills empty columns from the file's first line,
    so that Git facts come back that were cleared."""
    known: Json = {}
    if filled and name in ("git_cleared", "git_all_cleared"):
        known["gitInfo"] = {"sha": GIT.sha, "branch": GIT.branch, "originUrl": GIT.origin_url}
    left_out = LEFT_OUT_OF_LISTS if filled else LEFT_OUT_OF_ROWS
    if not filled and theirs.get("originator", thread.originator) is None:
        known["originator"] = None  # the row is older than the column; the same with its own rows
    check_thread(name, thread, theirs, **known, **dict.fromkeys(left_out))


def check_turns(name: str, ours: Sequence[Json], theirs: Sequence[Json], *, failures: bool) -> None:
    """Codex tells all turns and items as we do, but for ids that each makes up."""
    wanted = [_turn(turn) for turn in like(list(ours), list(theirs))]
    if not failures:
        for turn in wanted:  # the release has no word for a failed turn once it is over
            turn.update(status=turn["status"].replace("failed", "completed"), error=None)
    unequal = [pair for pair in zip(wanted, map(_turn, theirs), strict=True) if pair[0] != pair[1]]
    assert not unequal, (name, unequal)


def _turn(turn: Json) -> Json:
    items = [{key: item[key] for key in item if key != "id"} for item in turn["items"]]
    return {**{key: turn[key] for key in turn if key != "rootTurnId"}, "items": items}


def list_all(server: AppServer, limit: int = 100, **params: Any) -> list[Json]:
    """All pages of a list."""
    found: list[Json] = []
    cursor = None
    while True:
        page = server.call("thread/list", limit=limit, cursor=cursor, **params)
        found += page["data"]
        cursor = page.get("nextCursor")
        if cursor is None:
            return found


def heard(request: Json) -> list[Json]:
    """The history in a request to the model: without what Codex tells it about its surroundings."""
    items = [_heard(item) for item in request["input"]]
    return [item for item in items if not _surroundings(item)]


def to_be_heard(items: Iterable[RolloutItem]) -> list[Json]:
    """What the model must hear of a history: a compaction replaces what was before."""
    told: list[Json] = []
    for item in items:
        if item.type == "compacted":
            told = [_heard(replacement) for replacement in item.payload["replacement_history"]]
        elif item.type == "response_item":
            told.append(_heard(item.payload))
    return told


def _heard(item: Json) -> Json:
    members = ("type", "role", "name", "call_id", "arguments", "input", "output", "summary")
    told = {key: item[key] for key in members if item.get(key)}
    content = item.get("content")
    if isinstance(content, list):
        told["content"] = [part.get("text") or part.get("image_url") for part in content]
    return told


def _surroundings(item: Json) -> bool:
    content = item.get("content") or [""]
    return item.get("role") == "developer" or str(content[0]).startswith("<environment_context>")


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a query says about a database of Codex."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    with contextlib.closing(connection):
        return list(connection.execute(sql))


def read_rows(home: Path) -> dict[str, Json]:
    """Codex's table of threads, by id."""
    connection = apsw.Connection(str(home / "state_5.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    with contextlib.closing(connection):
        cursor = connection.execute("SELECT * FROM threads")
        columns = [column[0] for column in cursor.get_description()]
        return {row[columns.index("id")]: dict(zip(columns, row, strict=True)) for row in cursor}


def residue(home: Path, thread_id: str) -> list[str]:
    """Where in a home a thread is still named: rows of any database, lines of any text."""
    found = []
    for path in home.glob("*.sqlite"):
        for (table,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'"):
            if thread_id in str(rows(path, f'SELECT * FROM "{table}"')):
                found.append(f"{path.name}: {table}")
    texts = (path for pattern in ("*.jsonl", "*.json", "*.lock") for path in home.rglob(pattern))
    found += [path.name for path in texts if thread_id in path.name + path.read_text()]
    return found
