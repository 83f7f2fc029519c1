"""Git facts of a working directory: two short subprocesses, and none outside a repository."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

from threadstore.metadata import GitInfo

__all__ = ["collect_git_info", "inside_repository"]

TIMEOUT: Final = 5.0
"""Seconds after which a slow git is killed, as in Codex 0.131."""

# No hook, no file-system monitor, no bare repository that merely lies in the folder: nothing that
# comes with a working directory gets executed. (Codex 0.169 passes the same three.)
_GIT: Final = (
    "git",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "safe.bareRepository=explicit",
)
_SETTINGS: Final = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
# Set inside hooks and by wrappers; they would make git answer for another repository.
_REDIRECTIONS: Final = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
)


def inside_repository(cwd: str) -> bool:
    """Whether *cwd* or a folder above it has a ``.git``: a folder with a ``HEAD``, or a file.

    Costs a few ``stat`` calls and starts nothing. A bare repository does not count.
    """
    if not os.path.isdir(cwd):
        return False
    folder = os.path.realpath(cwd)
    while True:
        mark = os.path.join(folder, ".git")
        # A worktree's or submodule's mark is a file; reftable repositories have a HEAD as well.
        if os.path.isfile(mark) or os.path.exists(os.path.join(mark, "HEAD")):
            return True
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent


async def collect_git_info(cwd: str) -> GitInfo | None:
    """Commit, branch and origin of *cwd*; ``None`` outside a repository or when git says nothing.

    A detached head has no branch, a repository without commits neither commit nor branch. The
    origin's URL comes without credentials. Never raises because of git.
    """
    if not inside_repository(cwd):
        return None
    async with asyncio.TaskGroup() as probes:  # ends both before it passes a cancellation on
        first = probes.create_task(_git(cwd, "rev-parse", "HEAD", "--abbrev-ref", "HEAD"))
        second = probes.create_task(_git(cwd, "remote", "get-url", "origin"))
    head, origin = first.result(), second.result()
    sha, branch = head.splitlines() if head and head.count("\n") == 1 else (None, None)
    info = GitInfo(
        sha=sha,
        branch=None if branch == "HEAD" else branch,
        origin_url=origin or None,
    )
    return None if info == GitInfo() else info


async def _git(cwd: str, *arguments: str) -> str | None:
    """What git prints, stripped; ``None`` if it fails, is missing or takes too long."""
    environment = {**os.environ, **_SETTINGS}
    for variable in _REDIRECTIONS:
        environment.pop(variable, None)
    try:
        process = await asyncio.create_subprocess_exec(
            *_GIT,
            *arguments,
            cwd=cwd,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(TIMEOUT):
            output, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            await _kill(process)
    return output.decode("utf-8", "replace").strip() if process.returncode == 0 else None


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End git and whatever it started, and reap it, also while the caller is being cancelled."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    await process.communicate()
