"""Homes of real Codex threads, damaged, and what Codex then says of each thread."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
from tests.codex.app_server import RpcError, write_config

from threadstore.factory import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.codex.app_server import Json
    from tests.codex.model_server import ModelServer
    from tests.codex.releases import Release

    from threadstore.store import Finding


class Seen(NamedTuple):
    """What Codex does with one thread: in its lists, by id, continued."""

    in_rows: bool
    """In the list that it makes from its database alone."""
    in_files: bool
    """In its default list, which it makes from the files."""
    archived: bool
    """In its list of archived threads."""
    name: str | None
    read: bool
    continued: bool


WELL = Seen(True, True, False, None, True, True)


class DamagedHome:
    """A home in which a release made one thread for each word of *words*."""

    def __init__(
        self,
        release: Release,
        mode: str,
        model: ModelServer,
        folder: Path,
        words: Iterable[str],
        *,
        named: bool = False,
    ) -> None:
        self.release = release
        self.folder = folder
        self.path = folder / "home"
        self.cwd = folder / "work"
        self.cwd.mkdir()
        write_config(self.path, model.url)
        self.ids: dict[str, str] = {}
        with release.serve(self.path, self.cwd) as server:
            for word in words:
                thread_id = server.start_thread(self.cwd, historyMode=mode)
                server.run_turn(thread_id, f"A turn by Codex about {word} [scene plain]")
                if named:
                    server.call("thread/name/set", threadId=thread_id, name=f"About {word}")
                self.ids[word] = thread_id

    @property
    def database(self) -> Path:
        """Codex's database."""
        return self.path / "state_5.sqlite"

    def rollout(self, word: str) -> Path:
        """The log of a thread."""
        (path,) = self.path.glob(f"**/rollout-*{self.ids[word]}.jsonl")
        return path

    def rewrite(self, word: str, change: Callable[[bytes], bytes]) -> None:
        """Change the bytes of a log, not its time."""
        path = self.rollout(word)
        info = path.stat()
        path.write_bytes(change(path.read_bytes()))
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

    def sql(self, statement: str, *values: Any) -> None:
        """Change Codex's database."""
        self.rows(statement, *values)

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into Codex's database."""
        with closing(apsw.Connection(str(self.database))) as connection:
            return list(connection.execute(statement, values))

    def look(self, words: Iterable[str] | None = None) -> dict[str, Seen]:
        """What Codex says of each thread; afterwards the home is as it was before."""
        aside = self.folder / "aside"
        shutil.copytree(self.path, aside)
        try:
            return self.use(words)
        finally:
            shutil.rmtree(self.path)
            aside.rename(self.path)

    def use(self, words: Iterable[str] | None = None) -> dict[str, Seen]:
        """What Codex says of each thread, each of which it continues if it can."""
        chosen = self.ids if words is None else {word: self.ids[word] for word in words}
        with self.release.serve(self.path, self.cwd) as server:

            def listed(**how: Any) -> dict[str, Json]:
                try:
                    answer = server.call("thread/list", limit=100, modelProviders=[], **how)
                except RpcError:
                    return {}
                return {thread["id"]: thread for thread in answer["data"]}

            def works(method: str, thread_id: str, **params: Any) -> bool:
                try:
                    answer = server.call(method, threadId=thread_id, **params)
                except RpcError:
                    return False
                return bool(answer["thread"]["id"] == thread_id)

            rows = listed(useStateDbOnly=True)
            files, archived = listed(), listed(archived=True)
            seen = {}
            for word, thread_id in chosen.items():
                read = works("thread/read", thread_id, includeTurns=True)
                resumed = works("thread/resume", thread_id)
                if resumed:
                    server.run_turn(thread_id, "Another turn [scene plain]", cwd=str(self.cwd))
                thread = files.get(thread_id) or archived.get(thread_id) or {}
                seen[word] = Seen(
                    thread_id in rows,
                    thread_id in files,
                    thread_id in archived,
                    thread.get("name"),
                    read,
                    resumed,
                )
            return seen

    async def doctor(self) -> list[Finding]:
        """What ``doctor --fix`` finds and does. Locks that a Codex left when it ended, which it
        does in one run and not in the next, are no damage."""
        async with open_store(f"local:{self.path}") as store:
            found = await store.inspect(fix=True)
        return [finding for finding in found if finding.code != "leftover_lock"]
