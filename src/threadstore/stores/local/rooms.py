"""What a local store is made of.

A room is made, and its module imported, when somebody first goes there: importing all of them takes
longer than a list from the command line, which uses few.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from threadstore.clock import Clock, SystemClock
from threadstore.following import Signals
from threadstore.stores.local.healing import Healer
from threadstore.stores.local.home_config import HomeConfig
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.paths import Home, find_rollout
from threadstore.stores.local.state_db import StateDb
from threadstore.stores.local.sync import IndexSync
from threadstore.stores.local.text_store import SearchedStore
from threadstore.stores.local.title_reader import TitleReader
from threadstore.stores.local.waiting import in_worker

if TYPE_CHECKING:
    from threadstore.config import LocalStoreConfig
    from threadstore.metadata import StoredThread
    from threadstore.stores.local.archiving import Archiver
    from threadstore.stores.local.families import Families
    from threadstore.stores.local.marks import KeptMarks
    from threadstore.stores.local.metadata import MetadataWriter
    from threadstore.stores.local.places import Places
    from threadstore.stores.local.reading import HistoryReading
    from threadstore.stores.local.text_verbs import TextVerbs
    from threadstore.stores.local.writers import Writers

__all__ = ["Rooms"]


class Rooms(SearchedStore):
    """The rooms of a store, and how they know each other."""

    def __init__(self, config: LocalStoreConfig, *, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._settings = HomeConfig(config)
        self._home = Home(home=config.home, sqlite_home=self._settings.sqlite_home)
        self._opened = False
        self._state = (
            StateDb(self._home.state_db, busy_timeout=config.busy_timeout)
            if config.use_state_db
            else None
        )
        self._index = IndexDb(
            self._home.index_db if config.use_index_file else None,
            busy_timeout=config.busy_timeout,
        )
        self._signals = Signals()
        self._titles = TitleReader(self._index)
        self._sync = IndexSync(
            self._home,
            self._state,
            self._index,
            default_provider=lambda: self._settings.model_provider,
            refresh_interval=config.refresh_interval,
            clock=self._clock,
            is_live=lambda thread_id: thread_id in self._writers,
        )
        self._healer = Healer(self._sync)

    @cached_property
    def _writers(self) -> Writers:
        from threadstore.stores.local.writers import Writers

        return Writers(self._home, self._clock)

    @cached_property
    def _places(self) -> Places:
        from threadstore.stores.local.places import Places

        return Places()

    @cached_property
    def _reading(self) -> HistoryReading:
        from threadstore.stores.local.reading import HistoryReading

        held = self._writers.is_held_elsewhere
        return HistoryReading(self._log_path, self._find_rollout, held, self._places)

    @cached_property
    def turn_marks(self) -> KeptMarks:  # type: ignore[override]
        from threadstore.stores.local.marks import KeptMarks

        return KeptMarks(self._index, self._log_path, self._places)

    @cached_property
    def _metadata(self) -> MetadataWriter:
        from threadstore.stores.local.metadata import MetadataWriter

        return MetadataWriter(
            self._home, self._writers, self._state, self._index, self._sync, self._clock
        )

    @cached_property
    def _families(self) -> Families:
        from threadstore.stores.local.families import Families

        return Families(self._writers, self._index, self._sync)

    @cached_property
    def _archiver(self) -> Archiver:
        from threadstore.stores.local.archiving import Archiver

        return Archiver(self._home, self._state, self._index, self._sync.following)

    def make_search(self) -> TextVerbs:
        from threadstore.stores.local.text_verbs import TextVerbs

        return TextVerbs(self, self._config, self._home, self._index, self._sync, self._writers)

    def _is_used(self, room: str) -> bool:
        """Whether somebody has been in a room that is made on demand."""
        return room in vars(self)

    # Where the files of a thread are

    async def _log_path(self, thread_id: str) -> str | None:
        """Where the history is; ``None`` for a live thread that has none yet."""
        writer = self._writers.find(thread_id)
        if writer is not None:
            return writer.recorder.path if writer.materialised else None
        thread = await self._find(thread_id)
        if thread is None:
            raise self._sync.not_found(thread_id)
        return thread.rollout_path

    def _find_rollout(self, rollout_id: str) -> str | None:
        return find_rollout(self._home, rollout_id)

    async def _find(self, thread_id: str) -> StoredThread | None:
        """A thread with history, as it is at this moment."""
        return await in_worker(lambda: self._sync.refresh_thread(thread_id))
