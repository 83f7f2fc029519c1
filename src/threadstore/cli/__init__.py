"""The command line: words, tables and exit codes over any thread store.

``threadstore --help`` must answer at once, so nothing heavy is imported before it is used: the
parser knows each command's name and summary, a command's module brings the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see ``docs/cli.md``)."""
    from threadstore.cli.app import run

    return run(argv)
