"""Run the benchmarks and print one table.

``python -m benchmarks`` runs all; ``python -m benchmarks append list`` those whose name contains a
word. Each line is a ratio of two figures measured in turn, A B A B, in this run; each is the best
of its rounds.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import tempfile

GROUPS = ("append", "lists", "history", "indexing", "startup", "postgres", "app_server")


def main() -> int:
    """Print the table; exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("words", nargs="*", help="run only the lines whose name contains a word")
    parser.add_argument("--folder", help="where to put test homes (default: a temporary folder)")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'what':<44} {'ours':>14} {'limit':>14} {'ratio':>7} {'goal':>8}")
    missed = 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for group in GROUPS:
            module = importlib.import_module(f"benchmarks.{group}")
            for bench in module.BENCHES:
                name = f"{group} {bench.__name__}"
                if options.words and not any(word in name for word in options.words):
                    continue
                for result in bench(os.path.join(folder, name.replace(" ", "-"))):
                    print(result.line(), flush=True)
                    missed += not result.met
    if missed:
        print(f"{missed} below their goal", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
