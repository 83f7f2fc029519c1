"""The index of texts: kept up to date by whoever searches, never in the way, one tenant's only."""

from __future__ import annotations

import asyncio
import json

import psycopg
import pytest
from psycopg import sql
from tests.stores.postgres.conftest import OpenStore

from threadstore.errors import StoreUnavailable
from threadstore.history.items import RolloutItem
from threadstore.metadata import MetadataOrigin, NewThread, ThreadMetadataPatch
from threadstore.queries import SortKey, ThreadQuery
from threadstore.search import SearchPage, SearchQuery
from threadstore.search.tokens import MAX_WORD
from threadstore.stores.postgres import text_matches, text_search
from threadstore.stores.postgres.database import Database
from threadstore.stores.postgres.logs import Logs
from threadstore.stores.postgres.store import PostgresThreadStore
from threadstore.stores.postgres.text_feeder import Feeder
from threadstore.stores.postgres.text_index import TextIndex
from threadstore.stores.postgres.text_query import words_of
from threadstore.stores.postgres.threads import Threads
from threadstore.testing import items
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer

INDEXED = "SELECT position FROM threadstore.thread_texts WHERE thread_id = %s ORDER BY position"
COPY = """
INSERT INTO threadstore.thread_texts
SELECT tenant, gen_random_uuid(), position, log_id, role, tool, said_at, words
FROM threadstore.thread_texts
"""
PENDING = "SELECT thread_id::text FROM threadstore.thread_logs WHERE texts_pending"


async def spoken(store: PostgresThreadStore, *texts: str) -> str:
    """A thread in which somebody says so."""
    thread = await store.create_thread(NewThread(cwd=""))
    await store.append_items(thread.id, [items.user_message(text) for text in texts])
    await store.shutdown_thread(thread.id)
    return thread.id


async def found(store: PostgresThreadStore, text: str, *, literal: bool = False) -> list[str]:
    """The threads in which it is found."""
    page = await store.search_threads(SearchQuery(text=text, literal=literal))
    assert page.degraded is None
    return [hit.thread.id for hit in page.items]


async def test_no_word_is_one_of_our_own(open_with: OpenStore) -> None:
    """A policy stands in for the words of a search; texts with its word could not be written."""
    async with open_with(tenant="acme") as acme:
        thread = await spoken(acme, "nothing NO_WORD no word NOTHING")
        for text in ("nothing", "NO_WORD", "word"):
            assert await found(acme, text) == [thread]


async def test_the_words_of_another_tenant_are_never_found(open_with: OpenStore) -> None:
    async with open_with(tenant="acme") as acme, open_with(tenant="zeta") as zeta:
        ours = await spoken(acme, "the secret plan")
        theirs = await spoken(zeta, "another secret")
        assert await found(acme, "secret") == [ours]
        assert await found(zeta, "secret") == [theirs]
        assert await found(zeta, "plan") == []


async def test_row_level_security_lets_the_index_find_words(
    open_with: OpenStore, harness: PostgresHarness, postgres_server: PostgresServer
) -> None:
    async with open_with() as store:
        await spoken(store, "needle")
        await found(store, "needle")
    harness.look(
        "INSERT INTO threadstore.thread_texts"
        " SELECT 'default', gen_random_uuid(), 1, gen_random_uuid(), 'user', NULL, now(),"
        " ('word' || n)::tsvector FROM generate_series(1, 10000) AS n RETURNING 1"
    )
    analyze = sql.SQL("ANALYZE threadstore.thread_texts")
    postgres_server.admin(analyze, harness.database)
    with psycopg.connect(harness.config.dsn) as connection:
        connection.execute("SET threadstore.tenant = 'default'")
        connection.execute("SELECT set_config('threadstore.search', 'needle', false)")
        ask = "SELECT position FROM threadstore.thread_texts WHERE words @@ 'needle'"
        plan = connection.execute(sql.SQL(f"EXPLAIN {ask} AND tenant = 'default'")).fetchall()
        assert any("thread_texts_words" in row[0] for row in plan)
        assert connection.execute(sql.SQL(ask)).fetchall() == [(2,)]
        # No text of another tenant, whatever is said to be looked for.
        connection.execute("SET threadstore.tenant = 'zeta'")
        assert connection.execute(sql.SQL(ask)).fetchall() == []


async def test_texts_with_the_most_different_words_are_indexed(open_with: OpenStore) -> None:
    # The server takes vectors of less than a megabyte.
    ideographs = "".join(chr(0x20000 + (n * 7919) % 40_000) for n in range(100_000))
    syllables = " ".join(f"{n:05x}"[::-1].replace("0", "ΐ") for n in range(100_000))[:100_000]
    long = " ".join(chr(0x100 + n % 0x100) + "\u0390" * (MAX_WORD - 1) for n in range(1_500))
    async with open_with() as store:
        thread_id = await spoken(store, ideographs, syllables, long)
        assert await found(store, ideographs[5000:5004]) == [thread_id]
        assert await found(store, syllables.split()[-2]) == [thread_id]
        assert await found(store, long[:200].split()[0]) == [thread_id]


async def test_only_what_may_be_written_stays_pending(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        await spoken(store, "one")
        live = await store.create_thread(NewThread(cwd=""))
        await store.append_items(live.id, [items.user_message("two")])
        assert len(await found(store, "two")) == 1
        assert harness.look(PENDING) == [(live.id,)]
        await store.append_items(live.id, [items.user_message("three")])
        assert await found(store, "three") == [live.id]
        await store.shutdown_thread(live.id)
        assert harness.look(PENDING) == [(live.id,)]
        assert await found(store, "three") == [live.id]
        assert harness.look(PENDING) == []


async def test_two_stores_index_the_same_thread_once(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as one, open_with() as two:
        thread = await one.create_thread(NewThread(cwd=""))
        for number in range(20):
            await one.append_items(thread.id, [items.user_message(f"number{number} of all")])
            both = await asyncio.gather(
                *(found(store, f"number{number}") for store in (one, two, one, two))
            )
            assert both == [[thread.id]] * 4
        page = await two.search_occurrences(thread.id, SearchQuery(text="all"), limit=100)
        assert [each.position for each in page.items] == list(range(2, 22))
        assert harness.look(INDEXED, thread.id) == [(n,) for n in range(2, 22)]


async def test_texts_are_indexed_without_a_search(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        thread_id = await spoken(store, "one", "two")
        async with asyncio.timeout(30):
            while not harness.look(INDEXED, thread_id):
                await store.read_thread(thread_id)


async def test_a_search_waits_only_so_long(harness: PostgresHarness, open_with: OpenStore) -> None:
    async with open_with() as store:
        ids = [await spoken(store, f"thread {number}") for number in range(3)]
        await found(store, "thread")
        harness.look("UPDATE threadstore.thread_logs SET texts_pending = true RETURNING 1")
        harness.look("DELETE FROM threadstore.thread_text_marks RETURNING 1")
        harness.look("DELETE FROM threadstore.thread_texts RETURNING 1")
        assert ids
    database = Database(harness.config)
    await database.open()
    feeder = Feeder(TextIndex(database, Threads(database), Logs(database)), patience=-1)
    try:
        reason = await feeder.catch_up()
        assert reason == "not all threads are indexed yet: search again in a moment"
        async with asyncio.timeout(30):
            while await feeder.catch_up() is not None:
                await database.rows(b"SELECT", {})
    finally:
        await feeder.close()
        await database.close()
    assert harness.look(PENDING) == []


async def test_a_rename_is_found_without_indexing(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        thread_id = await spoken(store, "one")
        for name in ("first name", "second name", None):
            patch = ThreadMetadataPatch(name=name)
            await store.update_thread_metadata(thread_id, patch, origin=MetadataOrigin.EXPLICIT)
            words = harness.look(
                "SELECT words::text FROM threadstore.thread_texts"
                " WHERE thread_id = %s AND position = 0",
                thread_id,
            )
            wanted = [] if name is None else [" ".join(f"'{w}'" for w in sorted(name.split()))]
            assert [row[0] for row in words] == wanted


async def test_a_deleted_thread_leaves_no_texts(
    open_with: OpenStore, harness: PostgresHarness
) -> None:
    async with open_with() as store:
        thread_id = await spoken(store, "one")
        assert await found(store, "one") == [thread_id]
        await store.delete_thread(thread_id)
    for table in ("thread_texts", "thread_text_marks"):
        assert harness.look(f"SELECT FROM threadstore.{table}") == []


async def test_searching_goes_on_after_the_server_was_killed(harness: PostgresHarness) -> None:
    with PostgresServer(durable=True) as server:
        own = PostgresHarness(server, retry_for=30.0)
        async with own.open() as store:
            assert isinstance(store, PostgresThreadStore)
            ids = [await spoken(store, f"word {number} common") for number in range(30)]
            queries = [SearchQuery(text=f"word {number}") for number in range(30)]
            searches = asyncio.gather(
                *(store.search_threads(query) for query in queries), return_exceptions=True
            )
            await asyncio.sleep(0)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart_after_kill)
            for thread_id, answer in zip(ids, await searches, strict=True):
                if not isinstance(answer, StoreUnavailable):
                    assert isinstance(answer, SearchPage)
                    ids_found = [hit.thread.id for hit in answer.items]
                    assert ids_found == [thread_id] or answer.degraded
            for number, thread_id in enumerate(ids):
                assert await found(store, f"word {number}") == [thread_id]
            assert await store.inspect() == ()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("DELETE FROM threadstore.thread_texts WHERE false", None),
        ("UPDATE threadstore.thread_text_marks SET position = position + 5", "stale_texts"),
        ("DELETE FROM threadstore.thread_text_marks", "stale_texts"),
        (
            COPY,
            "orphaned_texts",
        ),
    ],
)
async def test_doctor_mends_the_index(
    open_with: OpenStore, harness: PostgresHarness, damage: str, code: str | None
) -> None:
    async with open_with() as store:
        thread_id = await spoken(store, "one")
        assert await found(store, "one") == [thread_id]
        harness.look(f"{damage} RETURNING 1")
        codes = {each.code for each in await store.inspect()} - {"not_durable"}
        assert codes == ({code} if code else set())
        await store.inspect(fix=True)
        assert {each.code for each in await store.inspect()} <= {"not_durable"}
        assert await found(store, "one") == [thread_id]


async def test_odd_words_are_looked_for_as_they_are(open_with: OpenStore) -> None:
    odd = ["it's", "a:b*", "back\\slash", "50% & more | !not", "<->", "ends'"]
    async with open_with() as store:
        ids = [await spoken(store, f"before {text} after") for text in odd]
        for thread_id, text in zip(ids, odd, strict=True):
            if any(map(str.isalnum, text)):
                assert thread_id in await found(store, f"before {text}", literal=True)


def test_what_the_server_is_asked_for_is_quoted() -> None:
    wanted = SearchQuery(text='"o\'neil x:y" pre* 黒猫').wanted()
    assert words_of(wanted) == "'o' & 'neil' & 'x' & 'y' & 'pre':* & '黒猫'"


async def test_half_characters_in_a_history_stop_nothing(open_with: OpenStore) -> None:
    call = {"type": "function_call", "name": "sh", "call_id": "\ud800", "arguments": "{}"}
    line = json.dumps(
        {"timestamp": "2026-01-01T00:00:00Z", "type": "response_item", "payload": call}
    )
    async with open_with() as store:
        thread = await store.create_thread(NewThread(cwd=""))
        await store.append_items(thread.id, [items.user_message("one")])
        await store.append_lines(thread.id, [line.encode()])
        await store.append_items(thread.id, [items.user_message("needle")])
        assert await found(store, "needle") == [thread.id]
        assert isinstance((await store.load_history(thread.id)).items[-1], RolloutItem)


@pytest.mark.parametrize(
    ("few", "rare", "walk"), [(1_000, 0, 0), (1, 1_000, 0), (1, 1, 6), (1, 1, 90)]
)
async def test_rare_and_common_words_give_the_same_pages(
    open_with: OpenStore, monkeypatch: pytest.MonkeyPatch, few: int, rare: int, walk: int
) -> None:
    monkeypatch.setattr(text_matches, "_FEW", few)
    monkeypatch.setattr(text_matches, "_RARE", rare)
    monkeypatch.setattr(text_search, "_WALK", walk)
    async with open_with() as store:
        ids = [
            await spoken(store, "one two", *(["two three"] * (number % 3)), "three two")
            for number in range(20)
        ]
        for text, wanted in (
            ("two", ids),
            ('"two three"', [each for number, each in enumerate(ids) if number % 3]),
            ('"three one"', []),
        ):
            seen: list[str] = []
            cursor: str | None = None
            while True:
                threads = ThreadQuery(limit=3, cursor=cursor, sort_key=SortKey.CREATED)
                page = await store.search_threads(SearchQuery(text=text, threads=threads))
                seen += [hit.thread.id for hit in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert sorted(seen) == sorted(wanted)
