"""Records in which order real Codex releases persist and announce what happens in a turn.

    .venv/bin/python -m tools.record_turns --work FOLDER 0.131.0 0.169.0

writes ``tests/engine/recorded/VERSION.json``: the scenes of ``tests/codex/scenes``, played with the
newest form of history that the release has. See ``tools/README.md`` for what FOLDER should be.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from tests.codex.releases import Release
from tests.codex.scenes.codex import play
from tests.codex.scenes.plays import PLAYS

RECORDED = Path(__file__).parents[1] / "tests" / "engine" / "recorded"


def record(release: Release, work: Path, only: list[str]) -> None:
    """Play the scenes with one release and keep what came of them."""
    mode = release.modes[-1]
    path = RECORDED / f"{release}.json"
    scenes = json.loads(path.read_text())["scenes"] if only and path.exists() else {}
    for name in only or PLAYS:
        if str(release) in PLAYS[name].chance:
            continue
        print(release, name, flush=True)
        folder = work / f"{release}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        scenes[name] = play(release.binary, folder, PLAYS[name], mode=mode)._asdict()
        shutil.rmtree(folder)
    ordered = {name: scenes[name] for name in PLAYS if name in scenes}
    recording = {"release": str(release), "mode": mode, "scenes": ordered}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(recording, indent=1) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the homes")
    parser.add_argument("--only", nargs="*", default=[], help="some scenes only")
    parser.add_argument("releases", nargs="+", type=Release.parse)
    arguments = parser.parse_args()
    for release in arguments.releases:
        record(release, arguments.work.resolve(), arguments.only)


if __name__ == "__main__":
    main()
