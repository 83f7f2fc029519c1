"""``threadstore doctor``: what is damaged, stale, orphaned or invisible."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from threadstore.cli.console import Console
from threadstore.cli.context import Context
from threadstore.cli.text import one_line, plural, short_path
from threadstore.store import Finding

__all__ = ["configure", "run"]

EXIT_FOUND = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``doctor``."""
    parser.description = """\
Report every file and row that is damaged, stale, orphaned or invisible, with the reason.
Reads only; with --fix it repairs what can be repaired by adding, and never changes or
removes what is there."""
    parser.epilog = """\
exit code 5 if something was found (also with --fix), 0 if not

in a pipe each finding is one line of fields separated by tabs:
severity, code, subject, reason, fix, "fixed" or nothing

examples:
  threadstore doctor
  threadstore doctor --fix
  threadstore doctor --json | jq -r '.data[] | select(.severity == "error") | .subject'
"""
    parser.add_argument("--fix", action="store_true", help="repair what can be repaired by adding")
    parser.add_argument("--json", action="store_true", help="print JSON")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Inspect the store."""
    console = context.console
    async with context.open_store() as store:
        with console.working("looking at every thread"):
            findings = await store.inspect(fix=args.fix)
    if args.json:
        console.json({"data": [_json(finding) for finding in findings], "nextCursor": None})
    elif console.terminal:
        _print_table(console, findings)
    else:
        for finding in findings:
            console.record(*(one_line(field) for field in _fields(finding)))
    return EXIT_FOUND if findings else 0


def _print_table(console: Console, findings: Sequence[Finding]) -> None:
    if not findings:
        console.line("nothing found")
        return
    rows = [
        (f.severity, f.code, one_line(short_path(f.subject)), one_line(f.reason), _remedy(f))
        for f in findings
    ]
    console.table(("severity", "code", "subject", "reason", "fix"), rows, wide=3)
    counts = Counter(finding.code for finding in findings)
    console.line(", ".join(f"{count} {code}" for code, count in counts.most_common()))
    fixed = sum(finding.fixed for finding in findings)
    mendable = sum(finding.fix is not None and not finding.fixed for finding in findings)
    if fixed:
        console.line(f"{plural(fixed, 'finding')} fixed")
    elif mendable:
        console.line(f"`threadstore doctor --fix` mends {mendable} of {len(findings)}")


def _remedy(finding: Finding) -> str:
    return "fixed" if finding.fixed else one_line(finding.fix or "")


def _fields(finding: Finding) -> tuple[str, ...]:
    return (
        finding.severity,
        finding.code,
        finding.subject,
        finding.reason,
        finding.fix or "",
        "fixed" if finding.fixed else "",
    )


def _json(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "subject": finding.subject,
        "reason": finding.reason,
        "threadId": finding.thread_id,
        "fix": finding.fix,
        "fixed": finding.fixed,
    }
