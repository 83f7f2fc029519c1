"""The rules that let one schema run on PostgreSQL, on sharded PostgreSQL (Citus) and on engines
that speak its protocol (CockroachDB, YugabyteDB), enforced over the SQL itself."""

from __future__ import annotations

import datetime as dt
import re
from itertools import product

import pytest

from threadstore.queries import SortKey, ThreadQuery, encode_cursor
from threadstore.search import SearchQuery, TextRole
from threadstore.stores.postgres.migrate import migrations
from threadstore.stores.postgres.statements import statements
from threadstore.stores.postgres.text_query import TextQuery
from threadstore.stores.postgres.thread_query import select, select_best

SCHEMA = "\n".join(migration.sql for migration in migrations())
STATEMENTS = {
    f"{file}.{name}": text.decode()
    for file in ("logs", "threads", "texts", "inspection")
    for name, text in statements(file).items()
}
TABLE = re.compile(r"CREATE TABLE (\S+) \((.*?)\n\)", re.DOTALL)
OURS = re.compile(r"threadstore\.(?:threads|thread_\w+)(?: AS (\w+))?")
THREAD = "00000000-0000-7000-8000-000000000000"


def without_comments(sql: str) -> str:
    """The SQL alone."""
    return re.sub(r"--.*", "", sql)


def lists() -> list[str]:
    """The SQL of every kind of list."""
    queries = [
        ThreadQuery(
            sort_key=key,
            archived=archived,
            descending=descending,
            cwds=("/a",),
            model_providers=("p",),
            models=("m",),
            git_origins=("o",),
            sources=("cli", "subagent", "custom:x"),
            exclude_sources=("exec",),
            parent_id=THREAD,
            ancestor_id=THREAD,
            id_prefix="01a2",
            name="x",
            search_term="x",
            only_displayable=True,
        )
        for key, archived, descending in product(SortKey, (None, True, False), (True, False))
    ]
    return [select(query, "default", [])[0].decode() for query in queries]


def test_every_table_is_led_by_tenant_and_thread() -> None:
    tables = dict(TABLE.findall(without_comments(SCHEMA)))
    assert len(tables) == 6
    for name, body in tables.items():
        assert re.match(r"\s*tenant text NOT NULL,\s*thread_id uuid NOT NULL,", body), name
        (key,) = re.findall(r"PRIMARY KEY \((.*?)\)", body)
        assert key.startswith("tenant, thread_id"), name


def test_no_unique_rule_is_without_tenant_and_thread() -> None:
    schema = without_comments(SCHEMA)
    assert "UNIQUE" not in schema.upper()
    for columns in re.findall(r"CREATE INDEX \w+ ON \S+ \((.*?)\)", schema):
        assert columns.startswith("tenant, ")
    # But one of words: policies and statements take what is the tenant's of what it finds.
    assert re.findall(r"USING (\w+) \((\w+)\)", schema) == [("gin", "words")]


@pytest.mark.parametrize(
    "word",
    [
        *("SERIAL", "SEQUENCE", "IDENTITY", "NEXTVAL", "TRIGGER", "REFERENCES", "EXTENSION"),
        *("JSONB", "FUNCTION", "DEFERRABLE", "TEMPORARY", "INHERITS", "EXCLUDE USING"),
    ],
)
def test_the_schema_needs_nothing_that_does_not_distribute(word: str) -> None:
    assert not re.search(rf"\b\w*{word}\b", without_comments(SCHEMA).upper())


def test_no_statement_needs_what_other_engines_lack() -> None:
    for name, text in [*STATEMENTS.items(), *(("list", sql) for sql in lists())]:
        sql = without_comments(text).upper()
        for word in ("LISTEN", "NOTIFY", "ADVISORY", "OFFSET", "RECURSIVE", "JSONB", "->"):
            assert word not in sql, (name, word)


def test_every_statement_says_whose_rows_each_table_gives() -> None:
    for name, text in STATEMENTS.items():
        if name == "inspection.settings":
            continue
        sql = without_comments(text)
        assert len(re.findall(r"tenant = %\(tenant\)s|%\(tenant\)s, ", sql)) >= 1, name
        assert OURS.search(sql), name
        for part in re.split(r"(?<!FOR )(?=\b(?:UPDATE|DELETE FROM)\b)", sql)[1:]:
            assert re.search(r"tenant = %\(tenant\)s|excluded", part), name


def test_pages_start_inside_an_index_by_a_row_value() -> None:
    for key in SortKey:
        paged = ThreadQuery(sort_key=key)
        cursor = encode_cursor("threads", paged.fingerprint(), 1, THREAD)
        sql, _ = select(ThreadQuery(sort_key=key, cursor=cursor), "default", None)
        text = sql.decode()
        assert f"({key.value}_at, thread_id) < (%(moment)s, %(thread)s::uuid)" in text
        assert re.search(rf"ON threadstore\.threads \(tenant, {key.value}_at, thread_id\)", SCHEMA)


def test_a_page_of_one_folder_starts_inside_an_index() -> None:
    sql, _ = select(ThreadQuery(sort_key=SortKey.RECENCY, cwds=("/a", "/a/")), "default", None)
    assert "cwd = %(cwd)s" in sql.decode()
    assert "ON threadstore.threads (tenant, cwd, recency_at, thread_id)" in SCHEMA


def test_a_search_says_whose_texts_it_means() -> None:
    every = SearchQuery(
        text='"two words" beg*',
        roles=(TextRole.USER,),
        tools=("t",),
        since=dt.datetime.now(dt.UTC),
        until=dt.datetime.now(dt.UTC),
    )
    text = TextQuery(every, "default")
    for ranked in (False, True):
        query = ThreadQuery(archived=None)
        made = select_best if ranked else select
        found = text.scores() if ranked else text.threads()
        sql = made(query, "default", None, found)[0].decode()
        tables = re.findall(r"threadstore\.\w+ WHERE tenant = %\(tenant\)s", sql)
        assert len(tables) == sql.count("threadstore.") > 1
    for query_of in (text.some(), text.count(), text.of_many(), text.of_one(descending=True)):
        assert query_of.count(b"threadstore.") == query_of.count(b"WHERE tenant = %(tenant)s") == 1


def test_an_append_reads_and_writes_no_metadata() -> None:
    for name in ("append", "append_keyed", "append_many"):
        sql = without_comments(STATEMENTS[f"logs.{name}"])
        assert "threadstore.threads" not in sql
        assert set(re.findall(r"threadstore\.(\w+)", sql)) <= {
            "thread_logs",
            "thread_items",
            "thread_receipts",
        }


def test_what_an_append_changes_is_in_no_index() -> None:
    schema = without_comments(SCHEMA)
    indexed = re.findall(r"ON threadstore\.thread_logs \((.*?)\)(?:\s+WHERE (.*?))?;", schema)
    changed = {"position", "next_ordinal", "last_batch", "expires_at"}
    for columns, condition in indexed:
        assert not changed & set(re.findall(r"\w+", f"{columns} {condition}"))
