"""Any verbs in any order: every store does what a plain dictionary would."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from threadstore.testing import LocalHarness, MemoryHarness, StoreHarness, ThreadStoreMachine


class MemoryMachine(ThreadStoreMachine):
    @staticmethod
    def make_harness(folder: str) -> StoreHarness:
        return MemoryHarness()


class LocalMachine(ThreadStoreMachine):
    @staticmethod
    def make_harness(folder: str) -> StoreHarness:
        return LocalHarness(folder)


class LocalMachineWithoutSqlite(ThreadStoreMachine):
    @staticmethod
    def make_harness(folder: str) -> StoreHarness:
        return LocalHarness(folder, variant="without_sqlite")


class LocalMachineLosingDatabases(ThreadStoreMachine):
    @staticmethod
    def make_harness(folder: str) -> StoreHarness:
        return LocalHarness(folder, variant="lost_database")


_quick = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(_quick, max_examples=60, stateful_step_count=40)
TestLocal = LocalMachine.TestCase
TestLocal.settings = _quick
TestLocalWithoutSqlite = LocalMachineWithoutSqlite.TestCase
TestLocalWithoutSqlite.settings = _quick
TestLocalLosingDatabases = LocalMachineLosingDatabases.TestCase
TestLocalLosingDatabases.settings = settings(_quick, max_examples=10)
