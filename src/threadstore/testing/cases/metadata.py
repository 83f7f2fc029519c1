"""One metadata change: literal, whole, and only of threads that exist."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import Any, Final

import pytest

from threadstore.clock import UTC
from threadstore.errors import InvalidRequest, ThreadNotFound
from threadstore.metadata import (
    GitInfo,
    GitInfoPatch,
    MetadataOrigin,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
    ThreadUsage,
    TokenUsage,
)
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import (
    EXPLICIT,
    OBSERVED,
    Cases,
    explicit,
    facts,
    history_bodies,
    listed,
    observed,
    stable_facts,
    unknown_id,
)
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import StoreHarness
from threadstore.testing.seeds import USAGE, empty_thread, record_thread

__all__ = ["MetadataTests"]

_LATER: Final = dt.datetime(2026, 5, 6, 7, 8, 9, 123000, tzinfo=UTC)
_VALUES: Final[dict[str, Any]] = {
    "name": "a name",
    "title": "a title",
    "preview": "a preview",
    "first_user_message": "a message",
    "created_at": dt.datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC),
    "updated_at": _LATER,
    "advance_recency_at": _LATER,
    "cwd": "/elsewhere",
    "git": GitInfoPatch(sha="c0ffee", branch="topic", origin_url="https://example.org/x.git"),
    "model_provider": "another",
    "model": "gpt-9",
    "reasoning_effort": "low",
    "cli_version": "9.9.9",
    "source": {"custom": "atlas"},
    "thread_source": "user",
    "agent_nickname": "Ada",
    "agent_role": "explorer",
    "agent_path": "/main/ada",
    "approval_mode": {"granular": {"rules": True, "sandbox_approval": False}},
    "sandbox_policy": {"type": "workspace-write", "network_access": False},
    "permission_profile": {"type": "managed", "network": "restricted"},
    "token_usage": TokenUsage(input_tokens=1, output_tokens=2, total_tokens=3),
    "usage": ThreadUsage(
        own={"gpt-9": TokenUsage(input_tokens=1, output_tokens=2, total_tokens=3)},
        inherited={"gpt-8": TokenUsage(input_tokens=5, total_tokens=5)},
    ),
    "memory_mode": "disabled",
    "originator": "another",
    "creator_user_id": "user-1",
    "creator_account_id": "account-1",
}
_CLEARABLE: Final = (
    "name",
    "reasoning_effort",
    "thread_source",
    "agent_nickname",
    "agent_role",
    "agent_path",
)
_SAID_BY_USERS: Final = frozenset({"git", "memory_mode", "name"})
_MODES: Final = ("legacy", "paginated")


def _field(name: str) -> str:
    """The field of a thread that a field of a patch writes."""
    return "recency_at" if name == "advance_recency_at" else name


def _origins(name: str) -> tuple[MetadataOrigin, ...]:
    return (EXPLICIT,) if name in _SAID_BY_USERS else (EXPLICIT, OBSERVED)


def _require_kept(harness: StoreHarness, mode: str, name: str) -> None:
    field = _field(name)
    if field in harness.log_facts(mode):
        pytest.skip(f"the store takes {field} from the history")
    if field in harness.volatile_facts(mode):
        pytest.skip(f"the harness takes away where the store keeps {field}")


def _kept(harness: StoreHarness, mode: str, **fields: Any) -> dict[str, Any]:
    """Those of *fields* that the store must keep."""
    volatile = harness.volatile_facts(mode)
    return {name: value for name, value in fields.items() if _field(name) not in volatile}


class MetadataTests(Cases):
    """``update_thread_metadata``."""

    @pytest.mark.parametrize("mode", _MODES)
    @pytest.mark.parametrize("field", _VALUES)
    async def test_a_field_is_set_and_nothing_else_changes(
        self,
        store: ThreadStore,
        harness: StoreHarness,
        clock: ManualClock,
        field: str,
        mode: str,
    ) -> None:
        _require_kept(harness, mode, field)
        for origin in _origins(field):
            clock.advance()
            thread = await empty_thread(store, history_mode=mode)
            patch = ThreadMetadataPatch(**{field: _VALUES[field]})
            expected = patch.apply(thread)
            after = await store.update_thread_metadata(thread.id, patch, origin=origin)
            assert stable_facts(harness, after) == stable_facts(harness, expected)
            assert facts(await store.read_thread(thread.id)) == facts(after)

    @pytest.mark.parametrize("mode", _MODES)
    @pytest.mark.parametrize("field", _CLEARABLE)
    async def test_a_field_is_cleared_and_stays_cleared(
        self, store: ThreadStore, harness: StoreHarness, field: str, mode: str
    ) -> None:
        _require_kept(harness, mode, field)
        thread = await empty_thread(store, history_mode=mode)
        await explicit(store, thread.id, **{field: _VALUES[field]})
        after = await explicit(store, thread.id, **{field: None})
        assert getattr(after, field) is None
        others = _kept(harness, mode, model="gpt-5", memory_mode="disabled")
        await explicit(store, thread.id, **others)
        await store.resume_thread(thread.id)
        await store.append_items(thread.id, [items.unknown_item()])
        await store.shutdown_thread(thread.id)
        assert getattr(await store.read_thread(thread.id), field) is None

    async def test_many_fields_are_one_change(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await empty_thread(store)
        kept = {
            field: value
            for field, value in _VALUES.items()
            if _field(field) not in harness.log_facts("legacy")
        }
        patch = ThreadMetadataPatch(**kept)
        after = await store.update_thread_metadata(thread.id, patch, origin=EXPLICIT)
        assert stable_facts(harness, after) == stable_facts(harness, patch.apply(thread))

    async def test_facts_that_history_implies_can_be_read_back(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, "fix it", source="exec", model_provider="mock")
        assert facts(thread) == facts(await store.read_thread(thread.id))
        assert (thread.title, thread.preview, thread.first_user_message) == ("fix it",) * 3
        assert (thread.model, thread.reasoning_effort) == ("gpt-5.1", "high")
        assert (thread.approval_mode, thread.sandbox_policy) == (
            "never",
            {"type": "danger-full-access"},
        )
        assert thread.token_usage == USAGE
        assert thread.usage == ThreadUsage(own={"gpt-5.1": USAGE})
        assert (thread.source, thread.model_provider) == ("exec", "mock")
        assert thread.updated_at == thread.recency_at == clock.now()

    async def test_an_empty_patch_reads(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        empty = ThreadMetadataPatch()
        live = await store.create_thread(NewThread(cwd="/repo"))
        cold = await record_thread(store, clock)
        archived = await record_thread(store, clock)
        await store.archive_thread(archived.id)
        for thread_id in (live.id, cold.id, archived.id):
            before = harness.raw_metadata(thread_id)
            for origin in MetadataOrigin:
                read = await store.update_thread_metadata(thread_id, empty, origin=origin)
                assert facts(read) == facts(await store.read_thread(thread_id))
            assert harness.raw_metadata(thread_id) == before

    @pytest.mark.parametrize("origin", MetadataOrigin)
    @pytest.mark.parametrize(
        "fields", [{}, {"name": "x"}, {"model": "x"}, {"memory_mode": "disabled"}]
    )
    async def test_an_unknown_thread_is_not_found_and_leaves_no_residue(
        self,
        store: ThreadStore,
        harness: StoreHarness,
        fields: dict[str, Any],
        origin: MetadataOrigin,
    ) -> None:
        thread_id = unknown_id()
        patch = ThreadMetadataPatch(**fields)
        with pytest.raises(ThreadNotFound):
            await store.update_thread_metadata(
                thread_id, patch, origin=origin, include_archived=True
            )
        assert harness.traces(thread_id) == []
        thread = await store.create_thread(NewThread(cwd="/repo", id=thread_id))
        assert (thread.name, thread.model, thread.memory_mode) == (None, None, "enabled")

    async def test_observed_metadata_waits_for_history(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await observed(store, thread.id, approval_mode="never", model="gpt-5.1")
        await observed(store, thread.id, reasoning_effort="high")
        assert harness.traces(thread.id) == []
        assert await listed(store) == []
        await store.append_items(thread.id, [items.turn_context(), items.agent_message("x")])
        await store.shutdown_thread(thread.id)
        after = await store.read_thread(thread.id)
        assert (after.approval_mode, after.model, after.reasoning_effort) == (
            "never",
            "gpt-5.1",
            "high",
        )

    @pytest.mark.parametrize("release", ["shutdown_thread", "discard_thread"])
    async def test_observed_metadata_goes_with_a_writer_that_never_wrote(
        self, store: ThreadStore, harness: StoreHarness, release: str
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await observed(store, thread.id, model="gpt-5.1")
        await getattr(store, release)(thread.id)
        with pytest.raises(ThreadNotFound):
            await observed(store, thread.id, model="gpt-5.1")
        assert harness.traces(thread.id) == []
        again = await store.create_thread(NewThread(cwd="/repo", id=thread.id))
        assert again.model is None

    @pytest.mark.parametrize("mode", _MODES)
    @pytest.mark.parametrize(
        "fields",
        [{"name": "work"}, {"memory_mode": "disabled"}, {"git": GitInfoPatch(branch="b")}],
        ids=["name", "memory_mode", "git"],
    )
    async def test_an_explicit_change_materialises_a_live_thread(
        self, store: ThreadStore, harness: StoreHarness, mode: Any, fields: dict[str, Any]
    ) -> None:
        (field,) = fields
        _require_kept(harness, mode, field)
        thread = await store.create_thread(NewThread(cwd="/repo", history_mode=mode))
        await explicit(store, thread.id, **fields)
        assert harness.raw_history(thread.id)
        await store.shutdown_thread(thread.id)
        assert await listed(store) == [thread.id]
        after = await store.read_thread(thread.id)
        expected = ThreadMetadataPatch(**fields).apply(thread)
        assert getattr(after, field) == getattr(expected, field)
        await store.resume_thread(thread.id)
        await store.append_items(thread.id, [items.unknown_item()])

    async def test_a_live_thread_knows_its_position_after_an_edit(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, live=True)
        await explicit(store, thread.id, memory_mode="disabled", git=GitInfoPatch(branch="b"))
        position = (await store.load_history(thread.id)).position
        assert position == len(harness.raw_history(thread.id))
        item = items.agent_message("x")
        receipt = await store.append_items(thread.id, [item], expected_position=position)
        assert receipt.position == position + 1

    async def test_what_the_caller_says_is_said_by_the_caller(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        mixed = ThreadMetadataPatch(memory_mode="disabled", model="gpt-5", updated_at=_LATER)
        await store.update_thread_metadata(thread.id, mixed, origin=EXPLICIT)
        git = ThreadMetadataPatch(git=GitInfoPatch(branch="topic"), updated_at=_LATER)
        await store.update_thread_metadata(thread.id, git, origin=EXPLICIT)
        after = await store.read_thread(thread.id)
        assert (after.memory_mode, after.git) == ("disabled", GitInfo(branch="topic"))


class NameTests(Cases):
    """Names are said by users, titles are derived; neither replaces the other."""

    @pytest.mark.parametrize("mode", _MODES)
    async def test_a_name_is_stripped(self, store: ThreadStore, mode: str) -> None:
        thread = await empty_thread(store, history_mode=mode)
        assert (await explicit(store, thread.id, name="  über\nzwei  ")).name == "über\nzwei"

    @pytest.mark.parametrize("name", ["", "   ", "\n"])
    async def test_a_blank_name_is_an_invalid_request(self, name: str) -> None:
        with pytest.raises(InvalidRequest):
            ThreadMetadataPatch(name=name)

    @pytest.mark.parametrize("mode", _MODES)
    async def test_a_name_survives_every_other_edit(
        self, store: ThreadStore, harness: StoreHarness, mode: str
    ) -> None:
        thread = await empty_thread(store, history_mode=mode)
        await explicit(store, thread.id, name="work")
        for fields in (
            {"git": GitInfoPatch(branch="b")},
            {"memory_mode": "disabled"},
            {"git": GitInfoPatch(branch=None)},
            {"model": "gpt-5"},
        ):
            kept = _kept(harness, mode, **fields)
            assert (await explicit(store, thread.id, **kept)).name == "work"
            assert (await store.read_thread(thread.id)).name == "work"

    @pytest.mark.parametrize("name", ["work", "fix the tests", "[Image]"])
    async def test_observation_never_changes_a_name(
        self, store: ThreadStore, clock: ManualClock, name: str
    ) -> None:
        thread = await record_thread(store, clock, "fix the tests", name=name, live=True)
        assert thread.name == name
        await store.append_items(thread.id, [items.user_message("more")])
        with contextlib.suppress(InvalidRequest):
            await observed(store, thread.id, name="observed")
        await observed(store, thread.id, title="fix the tests", preview="fix the tests")
        await store.shutdown_thread(thread.id)
        after = await store.read_thread(thread.id)
        assert (after.name, after.title, after.preview) == (
            name,
            "fix the tests",
            "fix the tests",
        )

    async def test_a_title_alone_is_no_name(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await record_thread(store, clock)
        assert thread.title
        assert thread.name is None

    async def test_a_name_that_was_given_first_outlives_the_first_message(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await explicit(store, thread.id, name="early")
        await store.append_items(thread.id, items.turn("t", "a message", at=clock.now()))
        await observed(store, thread.id, title="a message", preview="a message")
        assert (await store.read_thread(thread.id)).name == "early"

    async def test_a_cleared_name_does_not_come_back(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, name="first")
        await explicit(store, thread.id, name="second")
        await explicit(store, thread.id, name=None)
        await explicit(store, thread.id, memory_mode="disabled")
        await store.archive_thread(thread.id)
        await store.unarchive_thread(thread.id)
        assert (await store.read_thread(thread.id)).name is None
        assert [t.name for t in (await store.list_threads()).items] == [None]

    async def test_two_threads_may_have_one_name(self, store: ThreadStore) -> None:
        one, two = await empty_thread(store), await empty_thread(store)
        await explicit(store, one.id, name="same")
        await explicit(store, two.id, name="same")
        assert {t.name for t in (await store.list_threads()).items} == {"same"}


class FieldRuleTests(Cases):
    """The fields that have a rule of their own."""

    @pytest.mark.parametrize("mode", _MODES)
    async def test_git_changes_field_by_field(
        self, store: ThreadStore, harness: StoreHarness, mode: str
    ) -> None:
        _require_kept(harness, mode, "git")
        git = GitInfo(sha="a1", branch="main", origin_url="https://example.org/r.git")
        thread = await empty_thread(store, history_mode=mode, git=git)
        assert (await store.read_thread(thread.id)).git == git
        after = await explicit(store, thread.id, git=GitInfoPatch(branch="topic"))
        assert after.git == GitInfo(sha="a1", branch="topic", origin_url=git.origin_url)
        after = await explicit(store, thread.id, git=GitInfoPatch(sha=None))
        assert after.git == GitInfo(branch="topic", origin_url=git.origin_url)
        await explicit(store, thread.id, memory_mode="disabled")
        assert (await store.read_thread(thread.id)).git == after.git
        cleared = await explicit(store, thread.id, git=GitInfoPatch(branch=None, origin_url=None))
        assert cleared.git is None
        await store.resume_thread(thread.id)
        await store.append_items(thread.id, [items.unknown_item()])
        await store.shutdown_thread(thread.id)
        assert (await store.read_thread(thread.id)).git is None

    @pytest.mark.parametrize("mode", _MODES)
    async def test_memory_mode_and_git_do_not_disturb_each_other(
        self, store: ThreadStore, harness: StoreHarness, mode: str
    ) -> None:
        _require_kept(harness, mode, "git")
        thread = await empty_thread(store, history_mode=mode, git=GitInfo(branch="main"))
        await explicit(store, thread.id, memory_mode="disabled")
        await explicit(store, thread.id, git=GitInfoPatch(branch="topic"))
        after = await store.read_thread(thread.id)
        assert (after.memory_mode, after.git) == ("disabled", GitInfo(branch="topic"))
        await explicit(store, thread.id, memory_mode="enabled")
        after = await store.read_thread(thread.id)
        assert (after.memory_mode, after.git) == ("enabled", GitInfo(branch="topic"))

    async def test_credentials_in_a_url_are_kept_nowhere(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        url, clean = "https://me:secret@example.org/r.git", "https://example.org/r.git"
        thread = await empty_thread(store, git=GitInfo(origin_url=url))
        assert (await store.read_thread(thread.id)).git == GitInfo(origin_url=clean)
        other = await empty_thread(store)
        await explicit(store, other.id, git=GitInfoPatch(origin_url=url))
        assert (await store.read_thread(other.id)).git == GitInfo(origin_url=clean)
        for thread_id in (thread.id, other.id):
            assert b"secret" not in b"".join(harness.raw_history(thread_id))
            assert "secret" not in repr(harness.raw_metadata(thread_id))

    async def test_times_are_kept_to_the_millisecond(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        clock.advance(0.0015)
        thread = await empty_thread(store)
        assert thread.created_at.microsecond == 1000
        _require_kept(harness, "legacy", "updated_at")
        moment = clock.advance(10.0005)
        after = await observed(store, thread.id, updated_at=moment)
        assert after.updated_at == moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    async def test_recency_moves_forward_only(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        _require_kept(harness, "legacy", "advance_recency_at")
        thread = await empty_thread(store)
        for seconds, expected in ((10, 10), (5, 10), (20, 20)):
            moment = thread.recency_at + dt.timedelta(seconds=seconds)
            after = await observed(store, thread.id, advance_recency_at=moment)
            assert after.recency_at == thread.recency_at + dt.timedelta(seconds=expected)

    async def test_updated_at_is_what_the_patch_says(
        self, store: ThreadStore, harness: StoreHarness, clock: ManualClock
    ) -> None:
        _require_kept(harness, "legacy", "updated_at")
        thread = await record_thread(store, clock)
        clock.advance(100)
        assert (await explicit(store, thread.id, name="x")).updated_at == thread.updated_at
        moment = clock.now()
        assert (await observed(store, thread.id, updated_at=moment)).updated_at == moment
        earlier = thread.created_at - dt.timedelta(days=1)
        assert (await observed(store, thread.id, updated_at=earlier)).updated_at == earlier

    async def test_a_thread_keeps_its_originator(self, store: ThreadStore) -> None:
        thread = await empty_thread(store, originator="first")
        await observed(store, thread.id, originator="second", model="gpt-5.1")
        assert (await store.read_thread(thread.id)).originator == "first"

    async def test_the_last_of_two_patches_wins(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        await explicit(store, thread.id, name="one", memory_mode="disabled")
        await explicit(store, thread.id, name="two")
        after = await store.read_thread(thread.id)
        assert (after.name, after.memory_mode) == ("two", "disabled")

    async def test_an_edit_of_a_cold_thread_leaves_it_cold(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock)
        before = await history_bodies(store, thread.id)
        await explicit(store, thread.id, name="work", memory_mode="disabled")
        with pytest.raises(ThreadNotFound):
            await store.append_items(thread.id, [items.agent_message("x")])
        assert await history_bodies(store, thread.id) == before
        await store.resume_thread(thread.id)

    async def test_an_edit_of_one_thread_is_no_edit_of_another(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        one = await record_thread(store, clock, "one", name="one")
        two = await record_thread(store, clock, "two", name="two")
        await explicit(store, one.id, name="new", git=GitInfoPatch(branch="b"))
        assert facts(await store.read_thread(two.id)) == facts(two)

    async def test_a_returned_thread_is_a_snapshot(self, store: ThreadStore) -> None:
        thread = await empty_thread(store)
        before: StoredThread = await store.read_thread(thread.id)
        await explicit(store, thread.id, name="new")
        assert before.name is None
