"""Collecting findings, with what can be done about each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from threadstore.errors import ThreadStoreError
from threadstore.store import Finding

__all__ = ["Report"]

Severity = Literal["info", "warning", "error"]


class Report:
    """Findings in the order in which they were made."""

    def __init__(self, *, fix: bool) -> None:
        self._fix = fix
        self._found: list[tuple[Finding, Callable[[], object] | None]] = []

    @property
    def findings(self) -> list[Finding]:
        """What was noted so far."""
        return [finding for finding, _ in self._found]

    def add(
        self,
        severity: Severity,
        code: str,
        subject: str,
        reason: str,
        *,
        thread_id: str | None = None,
        fix: str | None = None,
        repair: Callable[[], object] | None = None,
        repairable: bool = False,
    ) -> None:
        """Note a finding; *repair* does what *fix* says, and only adds; *repairable*: the log
        itself would have to change, see ``repair.py``."""
        finding = Finding(
            code=code,
            severity=severity,
            subject=subject,
            reason=reason,
            thread_id=thread_id,
            fix=fix,
            repairable=repairable and thread_id is not None,
        )
        self._found.append((finding, repair))

    def finish(self) -> list[Finding]:
        """All findings; repaired, if that was asked for. What cannot be repaired says why."""
        if not self._fix:
            return self.findings
        return [_repaired(finding, repair) for finding, repair in self._found]


def _repaired(finding: Finding, repair: Callable[[], object] | None) -> Finding:
    if repair is None:
        return finding
    reason, fixed = finding.reason, True
    try:
        repair()
    except ThreadStoreError as error:
        reason, fixed = f"{reason}; not repaired: {error}", False
    return msgspec.structs.replace(finding, reason=reason, fixed=fixed)
