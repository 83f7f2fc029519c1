"""Several files for one rollout: a compressed form beside the plain one, copies elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence

from threadstore.errors import InvalidRequest
from threadstore.metadata import StoredThread
from threadstore.stores.local.lines import Log
from threadstore.stores.local.paths import RolloutFile, unavailable

__all__ = ["forms", "without_copies"]


def forms(file: RolloutFile) -> list[str]:
    """The file, and a compressed form of it that it hides."""
    twin = f"{file.path}.zst"
    hidden = file.actual_path == file.path and os.path.lexists(twin)
    return [file.actual_path, twin] if hidden else [file.actual_path]


def without_copies(
    files: Sequence[RolloutFile], thread: StoredThread
) -> tuple[list[RolloutFile], list[str]]:
    """The files to keep, and copies of them that may go: equal ones, and mere beginnings.

    Raises InvalidRequest if two files of one name say different things.
    """
    kept: dict[str, RolloutFile] = {}
    spare: list[str] = []
    for file in sorted(files, key=lambda file: file.path != thread.rollout_path):
        name = os.path.basename(file.path)
        other = kept.setdefault(name, file)
        if other is file:
            continue
        if _holds(other, file):
            spare += forms(file)
        elif _holds(file, other):
            kept[name] = file
            spare += forms(other)
        else:
            raise InvalidRequest(
                f"thread {thread.id} has two histories: {other.actual_path} and "
                f"{file.actual_path} differ",
                hint="compare them and move the one you do not want out of the home",
            )
    return list(kept.values()), spare


def _holds(file: RolloutFile, copy: RolloutFile) -> bool:
    """Whether nothing is lost without *copy*, a compressed form that it hides included."""
    if os.path.islink(file.actual_path):
        return False  # it may be a link to the copy
    try:
        return all(_begins_with(file.actual_path, form) for form in forms(copy))
    except OSError as error:
        raise unavailable(error, f"cannot compare {file.path} and {copy.path}") from error


def _begins_with(long: str, short: str) -> bool:
    """Whether what is in *short* is all of *long* or its beginning, byte for byte."""
    with _open(long) as whole, _open(short) as part:
        rest, pieces = b"", whole.chunks()
        for chunk in part.chunks():
            while len(rest) < len(chunk) and (piece := next(pieces, b"")):
                rest += piece
            if not rest.startswith(chunk):
                return False
            rest = rest[len(chunk) :]
        return part.damage is None


def _open(path: str) -> Log:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return Log(descriptor, compressed=path.endswith(".zst"))
