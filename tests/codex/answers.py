"""Everything that a release says about a home, and homes that are worth asking about."""

from __future__ import annotations

import shutil
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.codex.app_server import AppServer, Json, RpcError
from tests.codex.model_server import ModelServer
from tools.golden.answers import SOURCE_KINDS
from tools.golden.recording import Recording
from tools.golden.scenes import SCENES, exec_runs, killed, second_process

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.releases import Release

Answers = dict[str, Any]
"""By question: what the release answered, an error included."""

SORT_KEYS = ("created_at", "updated_at", "recency_at")
TERMS = ("hello", "Turn", "name", "ohne")
UNKNOWN = "not in this release"
_PATIENCE = 6


def answers(server: AppServer) -> Answers:
    """Lists in all forms, then everything there is to say about each thread."""
    found = {question: ask(server, *call) for question, call in _questions().items()}
    ids = {entry["id"] for answer in found.values() for entry in threads(answer)}
    for thread_id in sorted(ids):
        turns = {"threadId": thread_id, "includeTurns": True}
        found[f"read {thread_id}"] = ask(server, "thread/read", turns)
        for what in ("turns", "items"):
            page = {"threadId": thread_id, "limit": 100}
            found[f"{what} {thread_id}"] = ask(server, f"thread/{what}/list", page)
    return found


def _questions() -> dict[str, tuple[str, Json]]:
    everything: Json = {"limit": 100, "modelProviders": [], "sourceKinds": SOURCE_KINDS}
    lists: dict[str, Json] = {"list": {"limit": 100}, "list archived": {"archived": True}}
    forms = product((False, True), SORT_KEYS, ("asc", "desc"), (False, True))
    for archived, key, direction, database in forms:
        form = {"archived": archived, "sortKey": key, "sortDirection": direction}
        words = ("list archived" if archived else "list", key, direction, "database" * database)
        lists[" ".join(words).strip()] = {**everything, **form, "useStateDbOnly": database}
    for term in TERMS:
        # Of the database: the other form makes 0.131 and 0.133 touch each row that it finds.
        lists[f"list with {term}"] = {**everything, "searchTerm": term, "useStateDbOnly": True}
    questions = {name: ("thread/list", params) for name, params in lists.items()}
    for term in TERMS:
        questions[f"search {term}"] = ("thread/search", {"searchTerm": term, "limit": 100})
    return questions


def ask(server: AppServer, method: str, params: Json) -> Any:
    """The answer with all its pages and without cursors, or what the error says."""
    try:
        answer = server.call(method, **params)
        while answer.get("nextCursor"):
            page = server.call(method, **params, cursor=answer["nextCursor"])
            answer["data"] += page["data"]
            answer["nextCursor"] = page["nextCursor"]
            answer.get("readStates", {}).update(page.get("readStates", {}))
    except RpcError as error:
        return UNKNOWN if error.unknown_method else error.message
    return {key: value for key, value in answer.items() if not key.endswith("Cursor")}


def threads(answer: Any) -> list[Json]:
    """The threads of a list or of a search."""
    if isinstance(answer, str):
        return []
    entries = [entry.get("thread", entry) for entry in answer.get("data", ())]
    return [entry for entry in entries if "preview" in entry]


def unequal(before: Any, after: Any, path: str = "") -> list[str]:
    """Where two answers differ, readably. Members may be in any order: Codex shuffles them."""
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return [
            line for key in before for line in unequal(before[key], after[key], f"{path}/{key}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for index, pair in pairs for line in unequal(*pair, f"{path}/{index}")]
    return (
        [] if before == after else [f"{path}: {str(before)[:200]} before, {str(after)[:200]} now"]
    )


def others(found: Answers, thread_ids: set[str]) -> Answers:
    """The answers without what they say about some threads."""
    left: Answers = {}
    for question, answer in found.items():
        if question.rpartition(" ")[2] in thread_ids:
            continue
        if isinstance(answer, dict):
            answer = dict(answer)
            if threads(answer):
                pairs = zip(answer["data"], threads(answer), strict=True)
                answer["data"] = [entry for entry, t in pairs if t["id"] not in thread_ids]
            if "readStates" in answer:
                states = answer["readStates"].items()
                answer["readStates"] = {
                    key: state for key, state in states if key not in thread_ids
                }
        left[question] = answer
    return left


def about(found: Answers, thread_id: str) -> dict[str, Json]:
    """The thread as the answers show it, with its turns where they come by themselves."""
    seen = {
        question: thread
        for question, answer in found.items()
        for thread in threads(answer)
        if thread["id"] == thread_id
    }
    read = found.get(f"read {thread_id}")
    return {**seen, "read": read["thread"]} if isinstance(read, dict) else seen


def changes(before: Answers, after: Answers, thread_id: str) -> Json:
    """What has changed of the thread in at least one answer, with what it is now."""
    then, now = about(before, thread_id), about(after, thread_id)
    return {
        member: value
        for question in then.keys() & now.keys()
        for member, value in now[question].items()
        if then[question].get(member) != value
    }


def places(found: Answers, thread_id: str) -> set[str]:
    """Whether the thread is in lists of active ones, of archived ones."""
    return {
        "archived" if question.startswith("list archived") else "active"
        for question in about(found, thread_id)
        if question.startswith("list") and "with" not in question
    }


def asked(release: Release, home: Path, cwd: Path) -> Answers:
    """The answers of a fresh process."""
    with release.serve(home, cwd) as server:
        return answers(server)


def settled(release: Release, home: Path, cwd: Path) -> Answers:
    """The answers of fresh processes, once asking itself does not change them any more."""
    before: Answers = {}
    for _ in range(_PATIENCE):
        now = asked(release, home, cwd)
        if now == before:
            return now
        before = now
    raise AssertionError(f"{release} never answers twice the same")


class LiveHome(NamedTuple):
    """A home that the release has just made, and what it says about it."""

    home: Path
    cwd: Path
    examples: dict[str, str]
    """Thread ids by what they are examples of; ``legacy …`` for both modes' sake."""
    answers: Answers

    @property
    def backup(self) -> Path:
        """The home as it was then. Rows hold paths, so that it must be used where it was made."""
        return self.home.with_name("backup")

    def restore(self) -> None:
        """Make the home again what it was."""
        shutil.rmtree(self.home)
        shutil.copytree(self.backup, self.home, symlinks=True)


def live_home(release: Release, folder: Path) -> LiveHome:
    """All scenes of ``tools/golden``, in every history mode of the release."""
    with ModelServer() as model:
        r = Recording(str(release), folder, model.url)
        examples = _play(r, release)
    cwd = r.folders / "plain"
    live = LiveHome(r.home, cwd, examples, settled(release, r.home, cwd))
    shutil.copytree(live.home, live.backup, symlinks=True)
    return live


def _play(r: Recording, release: Release) -> dict[str, str]:
    examples: dict[str, str] = {}
    for mode in release.modes:
        r.variant = mode
        with r.serve() as server:
            for scene in SCENES:
                try:
                    scene(r, server)
                except RpcError as error:
                    r.missing[scene.__name__] = error.message
        killed(r)
        second_process(r)
        examples |= {f"{mode} {example}": thread_id for example, thread_id in r.threads.items()}
        r.threads.clear()
    exec_runs(r)
    return examples
