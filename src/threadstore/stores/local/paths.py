"""Where things lie in a Codex home, and what the names of rollout files mean."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import msgspec

from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.ids import parse_thread_id

__all__ = [
    "ASIDE",
    "ORIGINAL",
    "FolderContent",
    "Home",
    "OnError",
    "RolloutFile",
    "RolloutName",
    "active_path",
    "archived_path",
    "create_private",
    "existing_path",
    "find_by_id",
    "find_rollout",
    "is_original",
    "is_text",
    "make_folders",
    "new_rollout_path",
    "open_private",
    "other_place",
    "parse_rollout_name",
    "plain_path",
    "read_folder",
    "rollout_file_name",
    "scan",
    "stat_rollout",
    "sync_folder",
    "unavailable",
]

ASIDE: Final = ".deleted.tmp"
"""What the name of a file ends in that has stepped aside and will be removed."""
ORIGINAL: Final = ".original"
"""What follows the name of a log that was repaired and is kept as it was (then maybe a number)."""
OnError: TypeAlias = Callable[[str, OSError], None]
"""Is told the folder or file that cannot be read, and why."""

_UUID: Final = r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}"
_NAME: Final = re.compile(rf"rollout-(.*)-({_UUID})(?:_({_UUID}))?\.jsonl(\.zst)?", re.DOTALL)
_ORIGINAL_NAME: Final = re.compile(
    rf"rollout-.*\.jsonl(\.zst)?{re.escape(ORIGINAL)}(\.\d+)?", re.DOTALL
)
_STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)", re.ASCII)
_COMPRESSED: Final = ".zst"

_HINTS: Final = {
    errno.ENOSPC: "the disk is full: free some space, then try again",
    errno.EDQUOT: "the disk quota is used up: free some space, then try again",
    errno.EFBIG: "the file would become larger than this process or file system allows",
    errno.EACCES: "check the owner and the permissions of the file and its folders",
    errno.EPERM: "check the owner and the permissions of the file and its folders",
    errno.EROFS: "the file system is mounted read-only",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n) or open fewer threads at once",
    errno.ENFILE: "too many open files on this machine",
    errno.EIO: "the disk reports an error: check the hardware and the system log",
}


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """The folders of one Codex home, as absolute paths. Nothing of it needs to exist."""

    home: str
    sqlite_home: str

    @property
    def sessions(self) -> str:
        """Root of the active rollouts."""
        return f"{self.home}/sessions"

    @property
    def archived(self) -> str:
        """Root of the archived rollouts."""
        return f"{self.home}/archived_sessions"

    @property
    def name_index(self) -> str:
        """The file of explicit thread names."""
        return f"{self.home}/session_index.jsonl"

    @property
    def lock_folder(self) -> str:
        """Folder of the writer locks (Codex 0.146 and later)."""
        return f"{self.home}/thread-writer-locks"

    @property
    def state_db(self) -> str:
        """Codex's database of thread metadata."""
        return f"{self.sqlite_home}/state_5.sqlite"

    @property
    def index_db(self) -> str:
        """Our own, disposable list index."""
        return f"{self.sqlite_home}/threadstore_1.sqlite"

    @property
    def text_db(self) -> str:
        """Our own, disposable index of texts."""
        return f"{self.sqlite_home}/threadstore_text_1.sqlite"


class RolloutName(msgspec.Struct, frozen=True, kw_only=True):
    """What the name of a rollout file says."""

    thread_id: str
    rollout_id: str
    """The thread's id, except for the segment of a revert (``…-<thread>_<rollout>.jsonl``)."""
    stamp: dt.datetime | None
    """Naive local time of creation, in seconds; ``None`` if the name has no readable time."""
    compressed: bool


class RolloutFile(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout file on disk. ``path`` always ends in ``.jsonl``; ``actual_path`` is what is."""

    path: str
    actual_path: str
    archived: bool
    name: RolloutName | None
    """``None`` for names like ``rollout-foo.jsonl``, which hold no id."""
    size: int
    """Bytes on disk: of the compressed form, if that is what exists."""
    mtime_ns: int
    inode: int


def unavailable(error: OSError, doing: str) -> StoreUnavailable:
    """The error a caller sees for *error*; *doing* reads like ``cannot write /x/y``."""
    why = os.strerror(error.errno) if error.errno else str(error)
    return StoreUnavailable(f"{doing}: {why}", hint=_HINTS.get(error.errno or 0))


def parse_rollout_name(name: str) -> RolloutName | None:
    """Read a file name (not a path); ``None`` if it is not ``rollout-….jsonl[.zst]`` with an id.

    Ids may stand there in any case and without hyphens (Codex 0.169 reads both).
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    thread_id = parse_thread_id(found[2])
    rollout_id = parse_thread_id(found[3]) if found[3] else thread_id
    return RolloutName(
        thread_id=thread_id,
        rollout_id=rollout_id,
        stamp=_parse_stamp(found[1]),
        compressed=found[4] is not None,
    )


def rollout_file_name(
    local_time: dt.datetime, thread_id: str, rollout_id: str | None = None
) -> str:
    """``rollout-2026-11-22T06-18-27-<thread>[_<rollout>].jsonl``."""
    suffix = "" if rollout_id in (None, thread_id) else f"_{rollout_id}"
    return f"rollout-{local_time:%Y-%m-%dT%H-%M-%S}-{thread_id}{suffix}.jsonl"


def new_rollout_path(home: Home, created_at: dt.datetime, thread_id: str) -> str:
    """The path of a new thread created at *created_at* (aware); folders in local time, as Codex."""
    local = created_at.astimezone()
    folder = f"{home.sessions}/{local.year}/{local.month:02}/{local.day:02}"
    return f"{folder}/{rollout_file_name(local, thread_id)}"


def is_original(name: str) -> bool:
    """Whether a file of that name is a log that was repaired, as it was before."""
    return _ORIGINAL_NAME.fullmatch(name) is not None


def plain_path(path: str) -> str:
    """*path* without ``.zst``."""
    return path.removesuffix(_COMPRESSED)


def existing_path(path: str) -> str | None:
    """The plain or compressed file of *path*, whichever exists (plain first)."""
    plain = plain_path(path)
    for candidate in (plain, plain + _COMPRESSED):
        if os.path.isfile(candidate):
            return candidate
    return None


def archived_path(home: Home, path: str) -> str:
    """Where *path* (plain or ``.zst``) goes when its thread is archived: flat, same name."""
    return f"{home.archived}/{os.path.basename(path)}"


def active_path(home: Home, path: str) -> str:
    """Where *path* goes when its thread is unarchived: the date folder that its name says.

    Raises InvalidRequest if the name holds no time.
    """
    base = os.path.basename(path)
    name = parse_rollout_name(base)
    if name is None or name.stamp is None:
        raise InvalidRequest(
            f"cannot unarchive {path}: its name holds no time",
            hint="rename it to rollout-YYYY-MM-DDThh-mm-ss-<thread id>.jsonl",
        )
    stamp = name.stamp
    return f"{home.sessions}/{stamp.year}/{stamp.month:02}/{stamp.day:02}/{base}"


def other_place(home: Home, path: str) -> str:
    """Where *path* is if somebody has archived or unarchived it; *path* if no place can be told."""
    if not path.startswith(home.archived + "/"):
        return archived_path(home, path)
    name = parse_rollout_name(os.path.basename(path))
    return path if name is None or name.stamp is None else active_path(home, path)


def stat_rollout(home: Home, path: str) -> RolloutFile | None:
    """The file of *path* (plain or ``.zst``) as it is now; ``None`` if neither form exists."""
    actual = existing_path(path)
    if actual is None:
        return None
    archived = os.path.abspath(actual).startswith(home.archived + "/")
    return _describe(actual, parse_rollout_name(os.path.basename(actual)), archived=archived)


def scan(
    home: Home, on_error: OnError | None = None, on_folder: Callable[[str], None] | None = None
) -> Iterator[RolloutFile]:
    """Every rollout file below ``sessions/`` and ``archived_sessions/``, at any depth.

    A compressed file beside its plain form is left out. Symbolic links to folders are not
    followed. Folders that cannot be read and names that are no text go to *on_error*; a missing
    root is no error. *on_folder* is told of each folder before it is read.
    """
    for root, archived in ((home.sessions, False), (home.archived, True)):
        for path in _walk(root, on_error, on_folder):
            file = _describe(path, parse_rollout_name(os.path.basename(path)), archived=archived)
            if file is not None:
                yield file


def find_by_id(home: Home, thread_id: str) -> list[RolloutFile]:
    """All files of a thread by their names, active ones first, then in the order of the names."""
    return sorted(
        _find(home, thread_id, lambda name: name.thread_id),
        key=lambda file: (file.archived, os.path.basename(file.path)),
    )


def find_rollout(home: Home, rollout_id: str) -> str | None:
    """The plain path of the one file with this rollout id (what a ``history_base`` names)."""
    found = _find(home, rollout_id, lambda name: name.rollout_id)
    return next((file.path for file in found), None)


def make_folders(path: str) -> list[str]:
    """Create the missing folders of *path* with mode 0700 whatever the umask; those made, outermost
    first. Raises OSError."""
    missing: list[str] = []
    while not os.path.isdir(path):
        missing.append(path)
        parent = os.path.dirname(path)
        if parent == path:
            break
        path = parent
    made = []
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was faster, or it is a file
            os.mkdir(folder, 0o700)
            os.chmod(folder, 0o700)
            made.append(folder)
    return made


def open_private(path: str, flags: int) -> int:
    """Open a file, created with mode 0600 whatever the umask if it is missing. Raises OSError."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags | os.O_CLOEXEC)
        with contextlib.suppress(FileExistsError):  # another process was faster
            return create_private(path, flags)


def create_private(path: str, flags: int) -> int:
    """Create a file with mode 0600 whatever the umask. Raises FileExistsError and OSError."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def sync_folder(path: str) -> None:
    """Make the entries of a folder survive power loss. Raises OSError.

    Nothing to do if it has not changed since this process did so last.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        info = os.fstat(descriptor)
        state = (info.st_dev, info.st_ino, info.st_mtime_ns)
        if _synced.get(path) == state:
            return
        os.fsync(descriptor)
        # A younger time of change may be that of another change soon, too.
        if time.time_ns() - info.st_mtime_ns > _TICK:
            if len(_synced) >= _FOLDERS:
                _synced.clear()
            _synced[path] = state
    finally:
        os.close(descriptor)


_TICK: Final = 1_000_000_000
_FOLDERS: Final = 1000
_synced: Final[dict[str, tuple[int, int, int]]] = {}


def _parse_stamp(text: str) -> dt.datetime | None:
    found = _STAMP.fullmatch(text)
    if found is None:
        return None
    try:
        return dt.datetime.fromisoformat(f"{found[1]}T{found[2]}:{found[3]}:{found[4]}")
    except ValueError:
        return None


def _find(home: Home, wanted: str, key: Callable[[RolloutName], str]) -> Iterator[RolloutFile]:
    """The files whose name has the id *wanted* where *key* looks."""
    digits = wanted.replace("-", "")
    for root, archived in ((home.sessions, False), (home.archived, True)):
        for path in _walk(root):
            base = os.path.basename(path)
            if digits not in base.replace("-", "").lower():
                continue
            name = parse_rollout_name(base)
            file = (
                _describe(path, name, archived=archived) if name and key(name) == wanted else None
            )
            if file is not None:
                yield file


def is_text(path: str) -> bool:
    """Whether a path can be said in a thread's metadata, which is Unicode."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk(
    root: str, on_error: OnError | None = None, on_folder: Callable[[str], None] | None = None
) -> Iterator[str]:
    """Paths named like rollouts below *root*, without compressed twins; folders in name order."""
    folders = [root]
    while folders:
        folder = folders.pop()
        if on_folder is not None:
            on_folder(folder)
        try:
            content = read_folder(folder, on_error)
        except FileNotFoundError:
            continue
        except OSError as error:
            if on_error is not None:
                on_error(folder, error)
            continue
        folders += reversed(content.folders)
        yield from content.rollouts


class FolderContent(msgspec.Struct, frozen=True):
    """What lies directly in a folder, in the order of the names."""

    folders: list[str]
    """Paths of those that are no symbolic links."""
    rollouts: dict[str, int]
    """Actual paths of what is named like a rollout, without compressed twins, with the inode."""


def read_folder(folder: str, on_error: OnError | None = None) -> FolderContent:
    """The rollouts and folders in a folder. Names that are no text go to *on_error*. Raises OSError
    if it cannot be read."""
    folders: list[str] = []
    inodes: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if not is_folder and not name.startswith("rollout-"):
                continue
            if not is_text(name):
                if on_error is not None:
                    on_error(f"{folder}/{name}", OSError("its name is not valid UTF-8"))
            elif is_folder:
                folders.append(f"{folder}/{name}")
            elif name.endswith((".jsonl", ".jsonl.zst")):
                inodes[name] = entry.inode()
    rollouts = {
        f"{folder}/{name}": inodes[name]
        for name in sorted(inodes)
        if name.endswith(".jsonl") or plain_path(name) not in inodes
    }
    return FolderContent(sorted(folders), rollouts)


def _describe(path: str, name: RolloutName | None, *, archived: bool) -> RolloutFile | None:
    """The file at *path*; ``None`` if it is gone or no regular file."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(info.st_mode):
        return None
    return RolloutFile(
        path=plain_path(path),
        actual_path=path,
        archived=archived,
        name=name,
        size=info.st_size,
        mtime_ns=info.st_mtime_ns,
        inode=info.st_ino,
    )
