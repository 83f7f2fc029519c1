"""A home that can be looked at, for the tests of the doctor."""

from __future__ import annotations

from tests.stores.local.watched import Watched

from threadstore.store import Finding
from threadstore.stores.local.inspection import inspect


class Doctor(Watched):
    """A home that can be looked at."""

    def inspect(self, *, fix: bool = False) -> list[Finding]:
        """What is found."""
        return inspect(self.home, self.state, self.index, self.sync, fix=fix)

    def codes(self, *, fix: bool = False) -> list[str]:
        """What is found, in a word each, without threads that only lack a row."""
        return [found.code for found in self.inspect(fix=fix) if found.code != "unindexed"]

    def only(self, *, fix: bool = False) -> Finding:
        """The one thing that is found."""
        (finding,) = (found for found in self.inspect(fix=fix) if found.code != "unindexed")
        return finding
