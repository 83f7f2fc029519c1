"""Run the benchmarks and print one table.

``python -m benchmarks`` runs all; ``python -m benchmarks append list`` those whose name contains a
word. Each line is a ratio of two figures measured in turn, A B A B, in this run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import page, sizes
from benchmarks.measure import aligned

GROUPS = (
    "startup",
    "append",
    "app_server",
    "big_threads",
    "sockets",
    "peers",
    "growth",
    "lists",
    "history",
    "postgres",
)


def main() -> int:
    """Print the table; exit 1 if a goal is missed."""
    options = _options()
    if options.quick:
        sizes.set_quick()
    # As installed: the compiled form of a module is kept, whatever the developer's shell says.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    run = page.Run.here(quick=sizes.is_quick())
    print(run.machine)
    missed = 0
    parent = options.folder and os.path.abspath(options.folder)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        for name in GROUPS:
            missed += _run_group(name, options, folder, run)
            if options.write is not None:
                page.write(options.write, run, [_title(name) for name in GROUPS])
    if missed:
        print(f"{missed} below their goal", file=sys.stderr)
    return 1 if missed else 0


def _run_group(name: str, options: argparse.Namespace, folder: str, run: page.Run) -> int:
    """Run what was asked for of a group; the number of goals that it missed."""
    module, title = importlib.import_module(f"benchmarks.{name}"), _title(name)
    missed, begun = 0, False
    for bench in module.BENCHES:
        label = f"{name} {bench.__name__}"
        if options.words and not any(word in label for word in options.words):
            continue
        if not begun:
            print(f"\n{title}")
            print(aligned(("", "ours", "beside", "ratio", "goal", "")))
            begun = True
        for result in bench(os.path.join(folder, label.replace(" ", "-"))):
            print(result.line(), flush=True)
            run.add(title, result)
            missed += result.verdict == "missed"
    return missed


def _title(name: str) -> str:
    """The first sentence about a group."""
    text = importlib.import_module(f"benchmarks.{name}").__doc__ or name
    return text.splitlines()[0].rstrip(".").replace("``", "")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("words", nargs="*", help="run only what has one of these in its name")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    parser.add_argument("--folder", help="where to put test homes (default: a temporary folder)")
    parser.add_argument("--write", metavar="PATH", type=Path, help="write the page")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
