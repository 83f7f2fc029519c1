"""Looking at the folders of a home for what differs from the list index. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.stores.local.index_db import IndexedFile
from threadstore.stores.local.index_files import MISSING, IndexFiles
from threadstore.stores.local.locks import locked_threads
from threadstore.stores.local.paths import (
    FolderContent,
    Home,
    OnError,
    RolloutFile,
    plain_path,
    read_folder,
    stat_rollout,
)
from threadstore.stores.local.watches import UNSURE, FolderWatch

__all__ = ["Findings", "batches", "look_at_likely", "look_further", "look_into", "warn"]

T = TypeVar("T")

_BEGINNING: Final = "~"
"""Of a walk from the last path to the first one: behind all that begin with a slash."""
_LIKELY: Final = 100
"""Threads whose files are likely to grow: those that were updated last."""
_FURTHER: Final = 500
"""Files that a process looks at beyond those that are likely to have changed: 4 ms, and up to 10 ms
more until a slow disk has taken how far it came."""
_FURTHER_AFTER_MS: Final = 10_000
"""How long ago the process before it has to have done so: lists in quick succession do not pay."""


class Findings(msgspec.Struct):
    """What differs from what the index says."""

    news: dict[str, RolloutFile] = {}
    """Files that came or changed, by plain path."""
    came: bool = False
    """Whether there are new ones among them."""
    gone: list[str] = []
    """Files that are not where they were."""
    marks: dict[str, int | None] = {}
    """Folders that were read, with their times before."""
    lost: list[str] = []
    """Folders that are gone."""
    reached: tuple[str, int] | None = None
    """The file at which going on from process to process has stopped, and when."""

    def put_off(self, later: Findings) -> None:
        """Leave to *later* what is gone: it may have been moved to where nobody looked yet. Should
        that not come to its end, the next list reads the folders again."""
        for path in self.gone:
            self.marks[os.path.dirname(path)] = UNSURE
        later.gone += self.gone
        later.lost += self.lost
        self.gone, self.lost = [], []

    problems: dict[str, str] = {}
    """Folders and names that could not be read, with the reason."""


def look_into(
    home: Home,
    files: IndexFiles,
    folders: Iterable[str],
    watch: FolderWatch,
    found: Findings,
    *,
    thorough: bool,
) -> None:
    """Compare what lies in *folders*, and in folders in them that nobody knows, with the index.

    Not *thorough*: a known file is looked at only if its name belongs to another inode now.
    """
    waiting = list(folders)
    for folder in waiting:  # grows while it is walked
        if folder not in found.marks:
            waiting += _look_into_one(home, files, folder, watch, found, thorough=thorough)


def look_at_likely(
    home: Home, files: IndexFiles, changed: Collection[str], found: Findings
) -> None:
    """Compare the files that are likely to have grown: those of the threads that were updated last,
    that are *changed* otherwise, and whose writer lock somebody holds."""
    _look_at(home, files.of_newest(_LIKELY), found)
    _look_at(home, files.of_threads({*changed, *locked_threads(home)}), found)


def look_further(home: Home, files: IndexFiles, found: Findings, now_ms: int) -> None:
    """Go on with a look at every file where another process has stopped, if that is some seconds
    ago. Where processes are too short for a background, together they do what that does.

    *now_ms*: Unix time. A process that stopped later than now did so before the clock was set.
    """
    path, at_ms = files.reached()
    if at_ms is None or not 0 <= now_ms - at_ms < _FURTHER_AFTER_MS:
        portion = files.behind(path, _FURTHER)
        done = len(portion) < _FURTHER
        found.reached = _BEGINNING if done else portion[-1].path, now_ms
        _look_at(home, portion, found)


def _look_at(home: Home, known: Iterable[IndexedFile], found: Findings) -> None:
    """Compare single files with the index; one that is gone is its folder's business."""
    for file in known:
        if file.path not in found.news:
            _compare(home, file.path, file, found)


def batches(things: Iterable[T], size: int) -> Iterator[tuple[int, list[T]]]:
    """Portions, with the number of things done when the portion is."""
    rest = iter(things)
    done = 0
    while batch := list(islice(rest, size)):
        done += len(batch)
        yield done, batch


def _look_into_one(
    home: Home,
    files: IndexFiles,
    folder: str,
    watch: FolderWatch,
    found: Findings,
    *,
    thorough: bool,
) -> list[str]:
    """The folders in it that nobody knows."""

    def note_problem(path: str, error: OSError) -> None:
        found.problems[path] = os.strerror(error.errno) if error.errno else str(error)

    mark = found.marks[folder] = watch.mark(folder)
    is_root = folder in (home.sessions, home.archived)
    try:
        content = _read(home, folder, note_problem)
    except FileNotFoundError:
        if not is_root:
            del found.marks[folder]
            found.lost.append(folder)
        found.gone += (f.path for f in files.inside(folder).values() if f.problem != MISSING)
        return []
    except OSError as error:
        if not any(folder.startswith(f"{above}/") for above in found.problems):
            note_problem(folder, error)
        return []
    known = files.inside(folder)
    for actual, inode in content.rollouts.items():
        path = plain_path(actual)
        file = known.pop(path, None)
        if thorough or file is None or file.inode != inode or file.problem is not None:
            _compare(home, actual, file, found)
    found.gone += (path for path, file in known.items() if file.problem != MISSING)
    if mark is None:  # it came between two calls
        found.marks[folder] = UNSURE
    return [inner for inner in content.folders if inner not in watch.known]


def _read(home: Home, folder: str, on_error: OnError) -> FolderContent:
    if not f"{folder}/".startswith((f"{home.sessions}/", f"{home.archived}/")):
        raise FileNotFoundError(folder)  # of the home that this one was copied from
    return read_folder(folder, on_error)


def _compare(home: Home, path: str, known: IndexedFile | None, found: Findings) -> None:
    """Note a file that is not as it was."""
    there = known is not None and known.problem != MISSING
    as_known = (known.size, known.mtime_ns, known.inode) if known is not None and there else None
    if as_known is not None and _fingerprint(path) == as_known:
        return
    file = stat_rollout(home, path)  # which may be compressed
    if file is not None:
        if (file.size, file.mtime_ns, file.inode) != as_known:
            found.news[file.path] = file
            found.came = found.came or not there
    elif known is not None and there:  # something else has its name
        found.gone.append(known.path)


def _fingerprint(path: str) -> tuple[int, int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_size, info.st_mtime_ns, info.st_ino


def warn(error: StoreUnavailable) -> None:
    """What has changed cannot be entered now."""
    from logging import getLogger  # here: every start would pay for it

    getLogger(__name__).warning("the list index has to follow later: %s", error)
