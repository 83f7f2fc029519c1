"""Random queries of random threads: the list index answers as a plain scan of all threads does."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.stores.local.index_helpers import every_page, thread
from tests.stores.local.state_helpers import NOW

from threadstore.metadata import GitInfo, StoredThread
from threadstore.queries import SortKey, ThreadQuery
from threadstore.stores.local import index_query, index_titles
from threadstore.stores.local.index_db import IndexDb

FOLDERS = ("/w", "/x", "")
ORIGINS = ("https://example.org/a.git", "git@example.org:b.git")
MODELS = ("gpt-5", "gpt-6")
PROVIDERS = ("openai", "ollama")
SOURCES: dict[str, Any] = {
    "cli": "cli",
    "exec": "exec",
    "custom:atlas": {"custom": "atlas"},
    "subagent_review": {"subagent": "review"},
    "subagent_other": {"subagent": {"other": "guardian"}},
}
WORDS = (*SOURCES, "subagent", "custom", "nonsense")
BEGINNINGS = ("0a", "0b1", "f")
TEXT = st.text(st.sampled_from("abAß日本é\"' %_\x1f\0\ud800"), max_size=8)

moments = st.integers(0, 3).map(lambda number: NOW + dt.timedelta(milliseconds=number))
ids = st.builds(
    lambda beginning, rest: str(uuid.UUID(beginning + rest.hex[len(beginning) :])),
    st.sampled_from(BEGINNINGS),
    st.uuids(),
)
threads = st.builds(
    thread,
    id=ids,
    created_at=moments,
    updated_at=moments,
    recency_at=moments,
    archived_at=st.sampled_from((None, None, NOW)),
    source=st.sampled_from(tuple(SOURCES.values())),
    model_provider=st.sampled_from(PROVIDERS),
    model=st.sampled_from((None, *MODELS)),
    cwd=st.sampled_from(FOLDERS),
    git=st.sampled_from((None, *(GitInfo(origin_url=origin) for origin in ORIGINS))),
    preview=st.one_of(st.just(""), TEXT),
    name=st.one_of(st.none(), TEXT),
)


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...] | None]:
    chosen = st.lists(st.sampled_from((*values, "other")), max_size=3).map(tuple)
    return st.one_of(st.none(), st.none(), chosen)


queries = st.builds(
    ThreadQuery,
    limit=st.integers(1, 4),
    sort_key=st.sampled_from(SortKey),
    descending=st.booleans(),
    archived=st.sampled_from((False, True, None)),
    cwds=some(FOLDERS),
    model_providers=some(PROVIDERS),
    models=some(MODELS),
    git_origins=some(ORIGINS),
    sources=some(WORDS),
    exclude_sources=some(WORDS).map(lambda words: words or ()),
    search_term=st.one_of(st.none(), TEXT),
    name=st.one_of(st.none(), st.none(), st.none(), TEXT),
    id_prefix=st.one_of(st.none(), st.none(), st.sampled_from(BEGINNINGS)),
    only_displayable=st.booleans(),
)


@pytest.mark.parametrize("few", [1000, 1], ids=["few pass", "many pass"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(threads, max_size=25, unique_by=lambda each: each.id),
    st.lists(queries, min_size=1, max_size=8),
    st.integers(0, 25),
    st.lists(threads, max_size=3),
)
def test_pages_are_what_a_scan_finds(
    few: int,
    stored: list[StoredThread],
    asked: list[ThreadQuery],
    unread: int,
    changes: list[StoredThread],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_titles, "FEW", few)
        patch.setattr(index_query, "COUNTED", few)
        patch.setattr(index_query, "SEARCHED", few)
        patch.setattr(index_query, "MERGED", 1 + few % 7)
        index = IndexDb(None)
        index.open()
        for each in stored[unread:]:
            index.upsert(each)
        index.read_titles(1000)
        for each in stored[:unread]:
            index.upsert(each)
        for place, change in enumerate(changes[: len(stored)]):  # of what is read already, too
            stored[place] = msgspec.structs.replace(change, id=stored[place].id)
            index.upsert(stored[place])
        for query in asked:
            wanted = [each for each in stored if query.matches(each)]
            wanted.sort(
                key=lambda each: (query.sort_key.of(each), each.id), reverse=query.descending
            )
            found = every_page(index, query)
            assert [each.id for each in found] == [each.id for each in wanted], query
        index.close()
