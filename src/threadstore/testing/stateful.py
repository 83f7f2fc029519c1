"""A state machine: any verbs in any order, compared with what a plain dictionary would do."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from threadstore.errors import Conflict, InvalidRequest, ThreadNotFound, ThreadStoreError
from threadstore.metadata import (
    GitInfo,
    GitInfoPatch,
    MetadataOrigin,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
)
from threadstore.queries import SortKey, ThreadQuery
from threadstore.search import SearchQuery
from threadstore.search.tokens import composed
from threadstore.store import Durability, ThreadStore
from threadstore.testing import items
from threadstore.testing.harness import StoreHarness
from threadstore.testing.seeds import spawned_by

__all__ = ["ModelThread", "ThreadStoreMachine"]

T = TypeVar("T")

_names = st.text("abc %_'é🧵", min_size=1, max_size=6).filter(str.strip)
_WORDS = ("foo", "foo.bar", "fool", "黒猫", "Straße")
_texts = st.text(max_size=8) | st.lists(st.sampled_from(_WORDS), max_size=3).map(" ".join)
_asked = st.sampled_from((*_WORDS, "fo*", "猫", "STRASSE foo", '"foo bar"', "o", "foo."))
_git = st.builds(
    GitInfoPatch,
    sha=st.sampled_from([None, "a1"]),
    branch=st.sampled_from([None, "main", "topic"]),
)


class ModelThread(msgspec.Struct, kw_only=True):
    """What the machine believes about a thread."""

    id: str
    parent: str | None
    live: bool = True
    materialised: bool = False
    archived: bool = False
    name: str | None = None
    memory_mode: str = "enabled"
    git: GitInfo | None = None
    texts: list[str] = []
    keys: dict[str, int] = {}


class ThreadStoreMachine(RuleBasedStateMachine):
    """Subclass it, say how to make a harness, and run its ``TestCase``::

    class Machine(ThreadStoreMachine):
        @staticmethod
        def make_harness(folder: str) -> StoreHarness:
            return LocalHarness(folder)

    TestMachine = Machine.TestCase
    """

    @staticmethod
    def make_harness(folder: str) -> StoreHarness:
        """A harness on new data; *folder* is an empty folder that goes with the machine."""
        raise NotImplementedError

    threads = Bundle("threads")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, ModelThread] = {}
        self._folder = tempfile.TemporaryDirectory()
        self.harness = type(self).make_harness(self._folder.name)
        self._runner = asyncio.Runner()
        self._opened = self.harness.open()
        self.store: ThreadStore = self.run(self._opened.__aenter__())

    def teardown(self) -> None:
        self.run(self._opened.__aexit__(None, None, None))
        self._runner.close()
        self.harness.close()
        self._folder.cleanup()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def refuse(self, error: type[ThreadStoreError], call: Coroutine[Any, Any, Any]) -> None:
        """*call* must raise exactly *error*."""
        with pytest.raises(ThreadStoreError) as caught:
            self.run(call)
        assert caught.type is error

    # Writers

    @initialize(target=threads)
    def begin(self) -> Any:
        return multiple(self._create(None).id)

    @rule(target=threads)
    def create(self) -> str:
        return self._create(None).id

    @rule(target=threads, parent=threads)
    def spawn(self, parent: str) -> str:
        return self._create(parent).id

    def _create(self, parent: str | None) -> StoredThread:
        source = "cli" if parent is None else spawned_by(parent)
        new = NewThread(cwd="/repo", source=source, parent_thread_id=parent)
        thread = self.run(self.store.create_thread(new))
        self.model[thread.id] = ModelThread(id=thread.id, parent=parent)
        return thread

    @rule(thread_id=threads)
    def create_again(self, thread_id: str) -> None:
        if thread_id in self.model:
            call = self.store.create_thread(NewThread(cwd="/repo", id=thread_id))
            self.refuse(Conflict, call)

    @rule(thread_id=threads)
    def resume(self, thread_id: str) -> None:
        thread = self.model.get(thread_id)
        call = self.store.resume_thread(thread_id)
        if thread is None:
            self.refuse(ThreadNotFound, call)
        elif thread.live:
            self.refuse(Conflict, call)
        elif thread.archived:
            self.refuse(InvalidRequest, call)
        else:
            self.run(call)
            thread.live, thread.keys = True, {}

    @rule(
        thread_id=threads,
        texts=st.lists(_texts, max_size=3),
        key=st.none() | st.sampled_from("kl"),
    )
    def append(self, thread_id: str, texts: list[str], key: str | None) -> None:
        thread = self.model.get(thread_id)
        batch = [items.agent_message(text) for text in texts]
        call = self.store.append_items(thread_id, batch, idempotency_key=key)
        if thread is None or not thread.live:
            self.refuse(ThreadNotFound, call)
            return
        receipt = self.run(call)
        if key is not None and key in thread.keys:
            assert receipt.position == thread.keys[key]
            return
        thread.texts += texts
        thread.materialised |= bool(texts)
        if key is not None:
            thread.keys[key] = receipt.position
        assert receipt.position == len(self.harness.raw_history(thread_id))

    @rule(thread_id=threads)
    def persist(self, thread_id: str) -> None:
        thread = self.model.get(thread_id)
        call = self.store.persist_thread(thread_id)
        if thread is None or not thread.live:
            self.refuse(ThreadNotFound, call)
        else:
            self.run(call)
            thread.materialised = True

    @rule(thread_id=threads, forced=st.booleans())
    def release(self, thread_id: str, forced: bool) -> None:  # noqa: FBT001 - a rule's argument
        release = self.store.shutdown_thread if forced else self.store.discard_thread
        self.run(release(thread_id))
        thread = self.model.get(thread_id)
        if thread is not None:
            thread.live = False
            if not thread.materialised:
                del self.model[thread_id]
                self._check_gone(thread_id)

    # Metadata

    @rule(thread_id=threads, name=st.none() | _names)
    def rename(self, thread_id: str, name: str | None) -> None:
        if thread := self._edit(thread_id, ThreadMetadataPatch(name=name)):
            thread.name = name and name.strip()

    @rule(thread_id=threads, git=_git)
    def set_git(self, thread_id: str, git: GitInfoPatch) -> None:
        if thread := self._edit(thread_id, ThreadMetadataPatch(git=git)):
            thread.git = git.apply(thread.git)

    @rule(thread_id=threads, mode=st.sampled_from(["enabled", "disabled"]))
    def set_memory_mode(self, thread_id: str, mode: Any) -> None:
        if thread := self._edit(thread_id, ThreadMetadataPatch(memory_mode=mode)):
            thread.memory_mode = mode

    def _edit(self, thread_id: str, patch: ThreadMetadataPatch) -> ModelThread | None:
        """Patch it; the model of the thread if that should have worked."""
        thread = self.model.get(thread_id)
        origin = MetadataOrigin.EXPLICIT
        call = self.store.update_thread_metadata(thread_id, patch, origin=origin)
        if thread is None:
            self.refuse(ThreadNotFound, call)
            self._check_gone(thread_id)
            return None
        if thread.archived:
            self.refuse(InvalidRequest, call)
            return None
        self.run(call)
        thread.materialised = True
        return thread

    @rule(thread_id=threads)
    def observe(self, thread_id: str) -> None:
        patch = ThreadMetadataPatch(model="gpt-5.1")
        origin = MetadataOrigin.OBSERVED
        call = self.store.update_thread_metadata(thread_id, patch, origin=origin)
        if thread_id in self.model:
            self.run(call)
        else:
            self.refuse(ThreadNotFound, call)

    # Searching

    @precondition(lambda self: self.harness.capabilities.search_threads)
    @rule(text=_asked, literal=st.booleans(), ranked=st.booleans())
    def search(self, text: str, literal: bool, ranked: bool) -> None:  # noqa: FBT001
        threads = ThreadQuery(archived=None, limit=100)
        query = SearchQuery(text=text, literal=literal, threads=threads, ranked=ranked)
        wanted = query.wanted()
        expected = {
            thread.id
            for thread in self.model.values()
            if thread.materialised
            and any(wanted.spans(composed(said)) for said in (*thread.texts, thread.name or ""))
        }
        page = self.run(self.store.search_threads(query))
        assert sorted(hit.thread.id for hit in page.items) == sorted(expected)
        assert page.degraded is None

    # The end of threads

    def _family(self, thread_id: str) -> list[ModelThread]:
        family = [self.model[thread_id]]
        for member in family:
            family += (thread for thread in self.model.values() if thread.parent == member.id)
        return family

    @rule(thread_id=threads)
    def archive(self, thread_id: str) -> None:
        thread = self.model.get(thread_id)
        call = self.store.archive_thread(thread_id)
        if thread is None:
            self.refuse(ThreadNotFound, call)
        elif thread.archived:
            self.refuse(InvalidRequest, call)
        elif any(member.live for member in self._family(thread_id)):
            self.refuse(Conflict, call)
        else:
            wanted = [member for member in self._family(thread_id) if not member.archived]
            assert set(self.run(call)) == {member.id for member in wanted}
            for member in wanted:
                member.archived = True

    @rule(thread_id=threads)
    def unarchive(self, thread_id: str) -> None:
        thread = self.model.get(thread_id)
        call = self.store.unarchive_thread(thread_id)
        if thread is None:
            self.refuse(ThreadNotFound, call)
        elif not thread.archived:
            self.refuse(InvalidRequest, call)
        else:
            wanted = [member for member in self._family(thread_id) if member.archived]
            assert set(self.run(call)) == {member.id for member in wanted}
            for member in wanted:
                member.archived = False

    @rule(thread_id=consumes(threads))
    def delete(self, thread_id: str) -> None:
        thread = self.model.get(thread_id)
        call = self.store.delete_thread(thread_id)
        if thread is None:
            self.refuse(ThreadNotFound, call)
        elif any(member.live for member in self._family(thread_id)):
            self.refuse(Conflict, call)
        else:
            family = [member.id for member in self._family(thread_id)]
            assert set(self.run(call)) == set(family)
            for member in family:
                del self.model[member]
            for member in family:
                self._check_gone(member)

    def _check_gone(self, thread_id: str) -> None:
        """Nothing is left of a thread, except that threads which it spawned name their parent."""
        if all(thread.parent != thread_id for thread in self.model.values()):
            traces = self.harness.traces(thread_id)
            assert not traces, traces

    # Time and restarts

    @rule(seconds=st.sampled_from([0.001, 1, 3600]))
    def wait(self, seconds: float) -> None:
        self.harness.clock.advance(seconds)

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:  # noqa: FBT001 - a rule's argument
        if crash:
            self.harness.crash()
        self.run(self._opened.__aexit__(None, None, None))
        self._opened = self.harness.open()
        self.store = self.run(self._opened.__aenter__())
        kept = self.harness.capabilities.durability is not Durability.NONE
        self.model = {
            thread.id: thread for thread in self.model.values() if kept and thread.materialised
        }
        for thread in self.model.values():
            thread.live = False

    # What holds at any time

    @invariant()
    def lists_hold_what_is_materialised(self) -> None:
        for archived in (False, True):
            expected = {
                thread.id
                for thread in self.model.values()
                if thread.materialised and thread.archived is archived
            }
            query = ThreadQuery(archived=archived, limit=100, sort_key=SortKey.CREATED)
            page = self.run(self.store.list_threads(query))
            found = [thread.id for thread in page.items]
            assert len(found) == len(expected)
            assert set(found) == expected

    @invariant()
    def threads_are_what_was_said_of_them(self) -> None:
        for thread in self.model.values():
            stored = self.run(self.store.read_thread(thread.id))
            assert stored.archived is thread.archived
            assert (stored.name, stored.memory_mode) == (thread.name, thread.memory_mode)
            assert stored.git == thread.git

    @invariant()
    def histories_hold_what_was_appended(self) -> None:
        for thread in self.model.values():
            history = self.run(self.store.load_history(thread.id))
            texts = [
                item.payload["message"] for item in history.items if item.type != "session_meta"
            ]
            assert texts == thread.texts
            assert history.damage == ()
            assert history.position == len(self.harness.raw_history(thread.id))
