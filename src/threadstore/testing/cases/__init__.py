"""The cases of the conformance suite, one module for each part of the contract."""

from __future__ import annotations

from threadstore.testing.cases.append import AppendTests
from threadstore.testing.cases.archive import ArchiveTests
from threadstore.testing.cases.arguments import ArgumentTests
from threadstore.testing.cases.capabilities import CapabilityTests
from threadstore.testing.cases.concurrency import ConcurrencyTests
from threadstore.testing.cases.durability import DurabilityTests, SharingTests
from threadstore.testing.cases.filters import FilterTests
from threadstore.testing.cases.following import FollowingTests
from threadstore.testing.cases.history import ForkTests, HistoryTests
from threadstore.testing.cases.lifecycle import LifecycleTests
from threadstore.testing.cases.lines import ForkLineTests, LineTests
from threadstore.testing.cases.listing import ListingTests
from threadstore.testing.cases.metadata import FieldRuleTests, MetadataTests, NameTests
from threadstore.testing.cases.search import SearchMatchTests, SearchTextTests
from threadstore.testing.cases.search_histories import SearchFreshnessTests, SearchHistoryTests
from threadstore.testing.cases.search_pages import SearchFilterTests, SearchPageTests
from threadstore.testing.cases.turns import TurnTests
from threadstore.testing.cases.usage import UsageTests

__all__ = ["ThreadStoreTests"]


class ThreadStoreTests(
    FollowingTests,  # pytest begins with the last one; a broken store makes these wait
    LifecycleTests,
    AppendTests,
    LineTests,
    ForkLineTests,
    ArgumentTests,
    HistoryTests,
    ForkTests,
    TurnTests,
    ListingTests,
    FilterTests,
    MetadataTests,
    NameTests,
    FieldRuleTests,
    UsageTests,
    SearchMatchTests,
    SearchTextTests,
    SearchFilterTests,
    SearchPageTests,
    SearchFreshnessTests,
    SearchHistoryTests,
    ArchiveTests,
    DurabilityTests,
    SharingTests,
    ConcurrencyTests,
    CapabilityTests,
):
    """The whole contract of a thread store. Subclass it as ``Test…`` and override ``harness``."""
