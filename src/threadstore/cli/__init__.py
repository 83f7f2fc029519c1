"""The command line: words, tables and exit codes over any thread store.

``threadstore --help`` must answer at once, so nothing heavy is imported before it is used: the
parser knows each command's name and summary, a command's module brings the rest.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence

__all__ = ["main"]

_NEW_OBJECTS = 10_000
"""New objects after which garbage is looked for: nearly all that a start makes stays, and the usual
700 would look through it some fifty times."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see ``docs/cli.md``); without *argv* that of this
    process, which is expected to end then."""
    from threadstore.cli.app import run

    if argv is not None:
        return run(argv)
    gc.set_threshold(_NEW_OBJECTS)
    code = run()
    gc.freeze()  # what is left goes with the process, and need not be looked through once more
    return code
