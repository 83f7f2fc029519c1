"""Record golden homes: what real Codex releases leave on disk, and what they say about it.

    .venv/bin/python -m tools.record_golden --work FOLDER VERSION…

See tools/README.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.codex.app_server import Json, RpcError
from tests.codex.model_server import ModelServer
from tools.golden.answers import ask, ask_for_turns, save_answers, save_home
from tools.golden.recording import Recording
from tools.golden.scenes import (
    SCENES,
    compressed,
    edit_after_upgrade,
    exec_runs,
    killed,
    second_process,
)

FIRST_WITH_APP_SERVER_THREADS = (0, 57, 0)


def record(label: str, work: Path, model_url: str) -> None:
    """Record one home."""
    r = Recording(label, work, model_url)
    answers: Json = {"lists": {}, "threads": {}}
    if r.variant == "compressed":
        compressed(r)
        answers = ask(r)
    elif r.number < FIRST_WITH_APP_SERVER_THREADS:
        exec_runs(r)
    else:
        with r.serve() as server:
            for scene in SCENES:
                try:
                    scene(r, server)
                except RpcError as error:
                    r.missing[scene.__name__] = str(error)[:100]
        killed(r)
        r.upgrade()
        if r.variant == "upgraded":
            edit_after_upgrade(r)
        second_process(r)
        exec_runs(r)
        if r.variant == "rebuilt":
            for path in r.home.glob("state_5.sqlite*"):
                path.unlink()
        answers = ask(r)
    save_home(r)
    if answers["threads"]:
        ask_for_turns(r, answers)
    save_answers(r, answers)
    print(f"{label}: {len(r.threads)} examples; not supported:", *r.missing)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder to work in; recorded")
    parser.add_argument(
        "labels", nargs="+", metavar="VERSION[-legacy|-compressed|-upgraded|-rebuilt]"
    )
    options = parser.parse_args()
    with ModelServer() as model:
        for label in options.labels:
            record(label, options.work, model.url)


if __name__ == "__main__":
    main()
