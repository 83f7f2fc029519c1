"""Git facts of real working directories, created with git itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from threadstore.live import LiveThread, _git
from threadstore.live._git import collect_git_info, inside_repository
from threadstore.metadata import GitInfo, NewThread
from threadstore.stores.memory import MemoryThreadStore
from threadstore.testing.items import user_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GIT = shutil.which("git") or "git"


@pytest.fixture(autouse=True)
def plain_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No configuration of the machine, and an identity to commit with."""
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("HOME", str(tmp_path))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.org")
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("asyncio-waitpid"):  # Python 3.11 reaps processes in threads
            thread.join()


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run([GIT, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make_repo(folder: Path, *, origin: str | None = "https://example.org/a.git") -> str:
    """A repository with one commit on ``main``; its commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    if origin is not None:
        git(folder, "remote", "add", "origin", origin)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def git_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets a line for each git process that is started from now on."""
    log = tmp_path / "calls"
    log.touch()
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "git"
    script.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\nexec "{GIT}" "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


async def test_a_repository_gives_commit_branch_and_origin(tmp_path: Path) -> None:
    sha = make_repo(tmp_path / "repo")

    info = await collect_git_info(str(tmp_path / "repo"))

    assert info == GitInfo(sha=sha, branch="main", origin_url="https://example.org/a.git")


async def test_a_folder_below_the_root_gives_the_same_facts(tmp_path: Path) -> None:
    make_repo(tmp_path / "repo")
    below = tmp_path / "repo" / "a" / "b"
    below.mkdir(parents=True)

    assert await collect_git_info(str(below)) == await collect_git_info(str(tmp_path / "repo"))


async def test_a_link_into_a_repository_is_inside_it(tmp_path: Path) -> None:
    sha = make_repo(tmp_path / "repo")
    (tmp_path / "repo" / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "repo" / "sub")

    info = await collect_git_info(str(tmp_path / "link"))

    assert info is not None
    assert info.sha == sha


async def test_a_worktree_gives_its_own_branch(tmp_path: Path) -> None:
    sha = make_repo(tmp_path / "repo")
    git(tmp_path / "repo", "worktree", "add", "-q", "-b", "side", str(tmp_path / "tree"))

    info = await collect_git_info(str(tmp_path / "tree"))

    assert info == GitInfo(sha=sha, branch="side", origin_url="https://example.org/a.git")


async def test_a_submodule_gives_its_own_facts(tmp_path: Path) -> None:
    inner = make_repo(tmp_path / "inner", origin=None)
    make_repo(tmp_path / "outer")
    allow = ("-c", "protocol.file.allow=always")
    git(tmp_path / "outer", *allow, "submodule", "add", "-q", str(tmp_path / "inner"), "part")

    info = await collect_git_info(str(tmp_path / "outer" / "part"))

    assert info is not None
    assert (info.sha, info.origin_url) == (inner, str(tmp_path / "inner"))


async def test_a_detached_head_has_no_branch(tmp_path: Path) -> None:
    sha = make_repo(tmp_path / "repo")
    git(tmp_path / "repo", "checkout", "-q", "--detach")

    info = await collect_git_info(str(tmp_path / "repo"))

    assert info == GitInfo(sha=sha, branch=None, origin_url="https://example.org/a.git")


async def test_packed_refs_change_nothing(tmp_path: Path) -> None:
    sha = make_repo(tmp_path / "repo")
    git(tmp_path / "repo", "pack-refs", "--all")

    info = await collect_git_info(str(tmp_path / "repo"))

    assert info is not None
    assert (info.sha, info.branch) == (sha, "main")


async def test_a_repository_without_commits_has_only_its_origin(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "empty")
    assert await collect_git_info(str(tmp_path / "empty")) is None
    git(tmp_path / "empty", "remote", "add", "origin", "https://example.org/a.git")

    info = await collect_git_info(str(tmp_path / "empty"))

    assert info == GitInfo(origin_url="https://example.org/a.git")


async def test_a_repository_without_origin_has_no_url(tmp_path: Path) -> None:
    sha = make_repo(tmp_path / "repo", origin=None)

    assert await collect_git_info(str(tmp_path / "repo")) == GitInfo(sha=sha, branch="main")


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("https://ada:secret@example.org/a.git", "https://example.org/a.git"),
        ("https://token@example.org/a.git", "https://example.org/a.git"),
        ("https://ada:p@ss@example.org:8443/a.git", "https://example.org:8443/a.git"),
        ("git@example.org:team/a.git", "git@example.org:team/a.git"),
    ],
)
async def test_credentials_never_leave_the_repository(
    tmp_path: Path, stored: str, shown: str
) -> None:
    make_repo(tmp_path / "repo", origin=stored)

    info = await collect_git_info(str(tmp_path / "repo"))

    assert info is not None
    assert info.origin_url == shown


async def test_a_rewritten_origin_is_read_as_git_reads_it(tmp_path: Path) -> None:
    make_repo(tmp_path / "repo", origin="short:a.git")
    git(tmp_path / "repo", "config", "url.https://ada:pw@example.org/.insteadOf", "short:")

    info = await collect_git_info(str(tmp_path / "repo"))

    assert info is not None
    assert info.origin_url == "https://example.org/a.git"


async def test_a_broken_link_to_a_repository_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / ".git").write_text("gitdir: /nowhere/at/all\n")

    assert await collect_git_info(str(tmp_path / "tree")) is None


async def test_a_bare_repository_inside_a_repository_is_not_taken_for_it(tmp_path: Path) -> None:
    make_repo(tmp_path / "repo")
    git(tmp_path / "repo", "init", "-q", "--bare", "fixture.git")

    assert await collect_git_info(str(tmp_path / "repo" / "fixture.git")) is None


async def test_two_processes_start_inside_a_repository(tmp_path: Path, git_calls: Path) -> None:
    make_repo(tmp_path / "repo")

    assert await collect_git_info(str(tmp_path / "repo")) is not None

    assert len(git_calls.read_text().splitlines()) == 2


@pytest.mark.parametrize("layout", ["plain", "missing", "file", "bare", "empty_mark", "none"])
async def test_no_process_starts_outside_a_repository(
    tmp_path: Path, git_calls: Path, layout: str
) -> None:
    cwd = tmp_path / layout
    if layout == "bare":
        git(tmp_path, "init", "-q", "--bare", layout)
    elif layout == "empty_mark":
        (cwd / ".git").mkdir(parents=True)
    elif layout == "file":
        cwd.touch()
    elif layout == "plain":
        cwd.mkdir()
    git_calls.write_text("")

    assert await collect_git_info("" if layout == "none" else str(cwd)) is None

    assert git_calls.read_text() == ""
    assert not inside_repository(str(cwd))


async def test_variables_of_a_surrounding_git_do_not_redirect_the_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repo(tmp_path / "other", origin="https://example.org/other.git")
    make_repo(tmp_path / "repo")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))

    info = await collect_git_info(str(tmp_path / "repo"))

    assert info is not None
    assert info.origin_url == "https://example.org/a.git"


async def test_no_monitor_of_the_repository_is_executed(tmp_path: Path) -> None:
    make_repo(tmp_path / "repo")
    trace = tmp_path / "ran"
    monitor = tmp_path / "monitor"
    monitor.write_text(f'#!/bin/sh\ntouch "{trace}"\n')
    monitor.chmod(0o700)
    git(tmp_path / "repo", "config", "core.fsmonitor", str(monitor))

    assert await collect_git_info(str(tmp_path / "repo")) is not None

    assert not trace.exists()


def hanging_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a git that never answers first in the path; the pipe it announces its pid through."""
    pids = folder / "pids"
    os.mkfifo(pids)
    (folder / "bin").mkdir()
    script = folder / "bin" / "git"
    script.write_text(f'#!/bin/sh\necho $$ > "{pids}"\nexec sleep 60\n')
    script.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return pids


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_cancelled_probe_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repo(tmp_path / "repo")
    pipe = hanging_git(tmp_path, monkeypatch)
    probe = asyncio.create_task(collect_git_info(str(tmp_path / "repo")))
    pids: set[int] = set()
    while len(pids) < 2:
        text = await asyncio.to_thread(pipe.read_text)
        pids |= {int(line) for line in text.split()}

    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe

    assert not any(running(pid) for pid in pids)


async def test_a_git_that_hangs_is_killed_and_gives_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repo(tmp_path / "repo")
    monkeypatch.setattr(_git, "TIMEOUT", 0.05)
    hanging_git(tmp_path, monkeypatch)

    assert await collect_git_info(str(tmp_path / "repo")) is None


async def test_a_machine_without_git_gives_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repo(tmp_path / "repo")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert await collect_git_info(str(tmp_path / "repo")) is None


async def test_a_new_thread_records_its_repository_with_one_probe(
    tmp_path: Path, git_calls: Path
) -> None:
    sha = make_repo(tmp_path / "repo")
    async with MemoryThreadStore() as store:
        live = await LiveThread.create(store, NewThread(cwd=str(tmp_path / "repo")))
        await live.append_items([user_message("hello")])
        await live.shutdown()
        await LiveThread.resume(store, live.id)

        expected = GitInfo(sha=sha, branch="main", origin_url="https://example.org/a.git")
        assert (await live.read()).git == expected
        header = (await live.load_history()).items[0].payload
        assert header["git"]["commit_hash"] == sha
        assert header["git"]["branch"] == "main"
    assert len(git_calls.read_text().splitlines()) == 2


@pytest.mark.parametrize("given", [None, GitInfo(branch="given")])
async def test_a_thread_is_not_probed_if_told_so_or_told_the_facts(
    tmp_path: Path, git_calls: Path, given: GitInfo | None
) -> None:
    make_repo(tmp_path / "repo")
    new = NewThread(cwd=str(tmp_path / "repo"), git=given)
    async with MemoryThreadStore() as store:
        live = await LiveThread.create(store, new, probe_git=given is not None)

        assert (await live.read()).git == given
    assert git_calls.read_text() == ""
