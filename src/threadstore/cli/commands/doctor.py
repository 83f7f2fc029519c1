"""``threadstore doctor``: what is damaged, stale, orphaned or invisible."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from threadstore.cli.console import Console
from threadstore.cli.context import Context
from threadstore.cli.table import Column
from threadstore.cli.text import one_line
from threadstore.store import Finding

__all__ = ["configure", "run"]

EXIT_FOUND = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``doctor``."""
    parser.description = """\
Report every file and row that is damaged, stale, orphaned or invisible, with the reason.
Reads only; with --fix it adds what is missing and corrects rows of Codex's database, and
never removes anything or rewrites history: `threadstore repair` does that, one thread at a time."""
    parser.epilog = """\
exit code 5 if a warning or an error was found (also if it was fixed); 0 if nothing was
found, or only remarks (severity info)

in a pipe each finding is one line of fields separated by tabs:
severity, code, subject, reason, fix, "fixed" or nothing, repair command or nothing

examples:
  threadstore doctor
  threadstore doctor --fix
  threadstore doctor --json | jq -r '.data[] | select(.severity == "error") | .subject'
"""
    parser.add_argument("--fix", action="store_true", help="repair what can be repaired")
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
        _print_report(console, findings)
    else:
        for finding in findings:
            console.record(*(one_line(field) for field in _fields(finding)))
    return EXIT_FOUND if any(finding.severity != "info" for finding in findings) else 0


def _print_report(console: Console, findings: Sequence[Finding]) -> None:
    """For people: how often each problem occurs, then every finding with its reason."""
    if not findings:
        console.line("nothing found")
        return
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.code, []).append(finding)
    columns = (
        Column("problem"),
        Column("severity"),
        Column("found"),
        Column("mendable", optional=True),
        Column("fixed", optional=True),
    )
    console.table(columns, [_summary(code, group) for code, group in groups.items()])
    for finding in (finding for group in groups.values() for finding in group):
        console.line()
        console.line(f"{finding.severity}: {finding.code}: {one_line(finding.subject)}")
        console.line(f"  {one_line(finding.reason)}")
        if finding.fix is not None:
            console.line(f"  {'fixed' if finding.fixed else 'fix'}: {one_line(finding.fix)}")
        if finding.repairable:
            console.line(f"  repair: `{_repair(finding)}`")
    mendable = sum(_mendable(finding) for finding in findings)
    if mendable:
        console.line()
        console.line(f"`threadstore doctor --fix` mends {mendable} of {len(findings)}")


def _summary(code: str, group: list[Finding]) -> tuple[str, ...]:
    counts = (len(group), sum(map(_mendable, group)), sum(finding.fixed for finding in group))
    return (code, group[0].severity, *(str(count) if count else "" for count in counts))


def _mendable(finding: Finding) -> bool:
    return finding.fix is not None and not finding.fixed


def _fields(finding: Finding) -> tuple[str, ...]:
    return (
        finding.severity,
        finding.code,
        finding.subject,
        finding.reason,
        finding.fix or "",
        "fixed" if finding.fixed else "",
        _repair(finding) if finding.repairable else "",
    )


def _repair(finding: Finding) -> str:
    """Bytes of the log would have to change: only on request."""
    return f"threadstore repair {finding.thread_id} --in-place"


def _json(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "subject": finding.subject,
        "reason": finding.reason,
        "threadId": finding.thread_id,
        "fix": finding.fix,
        "fixed": finding.fixed,
        "repairable": finding.repairable,
    }
