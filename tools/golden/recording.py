"""The home that is being recorded and the working directories beside it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING

from tests.codex.app_server import AppServer, write_config
from tests.codex.install import codex_binary

if TYPE_CHECKING:
    from pathlib import Path

UPGRADED_FROM = "0.131.0"
MODELS = {"0.29": "gpt-5", "0.34": "gpt-5", "0.42": "gpt-5-codex", "0.57": "gpt-5-codex"}


class Recording:
    """One home that is being recorded."""

    def __init__(self, label: str, work: Path, model_url: str) -> None:
        self.label = label
        self.version, _, self.variant = label.partition("-")
        self.number = tuple(int(part) for part in self.version.split("."))
        self.binary = codex_binary(UPGRADED_FROM if self.variant == "upgraded" else self.version)
        self.home = work / label / "home"
        self.folders = work / label / "folders"
        self.database = self.home / "state_5.sqlite"
        self.copy = work / label / "copy.sqlite"
        self.model_url = model_url
        self.threads: dict[str, str] = {}
        """Thread id by what it is an example of."""
        self.prompts: dict[str, str] = {}
        """The first prompt of the examples made with ``codex exec``."""
        self.missing: dict[str, str] = {}
        """Why an example is not there: what the release answered."""
        shutil.rmtree(work / label, ignore_errors=True)
        self.configure()
        make_folders(self.folders)

    def configure(self, extra: str = "") -> None:
        """Write the configuration file."""
        if (0, 100, 0) <= self.number < (0, 131, 0):
            extra += "[features]\nmulti_agent = true\n"
        model = MODELS.get(self.version.rpartition(".")[0], "gpt-5.5")
        write_config(self.home, self.model_url, model=model, extra=extra)

    def upgrade(self) -> None:
        """Go on with the release that the label names."""
        self.binary = codex_binary(self.version)

    def serve(self) -> AppServer:
        """A new server process on the home."""
        return AppServer(self.binary, self.home, self.folders / "plain")

    def start(self, server: AppServer, example: str, folder: str = "plain") -> str:
        """A new thread, as an example of something."""
        mode = {"historyMode": self.variant} if self.variant in ("legacy", "paginated") else {}
        thread_id = server.start_thread(self.folders / folder, **mode)
        self.threads[example] = thread_id
        return thread_id

    def rollout(self, thread_id: str) -> Path:
        """The thread's (newest) file."""
        return max(self.home.glob(f"*sessions/**/rollout-*{thread_id}*.jsonl"))


def make_folders(folders: Path) -> None:
    """Working directories in all relations to a Git repository."""
    for name in ("plain", "repo", "credentials", "detached", "empty", "ünï 目录"):
        (folders / name).mkdir(parents=True)
    for name, user in (("repo", ""), ("detached", ""), ("credentials", "ann:secret@")):
        folder = folders / name
        git(folder, "init", "-q", "-b", "main")
        folder.joinpath("README.md").write_text("# sample\n")
        git(folder, "add", "README.md")
        git(folder, "commit", "-q", "-m", "first")
        git(folder, "remote", "add", "origin", f"https://{user}git.example.test/ann/sample.git")
    folders.joinpath("repo", "sub").mkdir()
    git(folders / "repo", "worktree", "add", "-q", "-b", "feature", str(folders / "worktree"))
    git(folders / "detached", "checkout", "-q", "--detach")
    git(folders / "empty", "init", "-q", "-b", "main")
    folders.joinpath("plain", "dot.png").write_bytes(tiny_png())


def git(folder: Path, *arguments: str) -> None:
    """Run git as the same person at the same time, so that hashes are equal everywhere."""
    who = {"NAME": "Ann Example", "EMAIL": "ann@example.test", "DATE": "2026-01-02T03:04:05Z"}
    env = {
        f"GIT_{role}_{key}": text for role in ("AUTHOR", "COMMITTER") for key, text in who.items()
    }
    config = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *arguments], cwd=folder, check=True, env={**os.environ, **env, **config})


def tiny_png() -> bytes:
    """A picture of one red dot."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
