"""``threadstore search`` as people and programs use it."""

from __future__ import annotations

import pytest
from tests.cli.conftest import Home, Run


def test_what_was_said_is_found_with_its_thread(cli: Run, home: Home) -> None:
    [row] = cli("search", "PARSER", "the").rows
    assert row[0] == home.named
    assert row[1] == "Parser rewrite"
    assert row[3:] == ["user", "5", "fix the parser"]


def test_several_words_in_one_argument_are_a_phrase(cli: Run, home: Home) -> None:
    assert [row[0] for row in cli("search", "count the lines").rows] == [home.exec]
    none = cli("search", "the count lines")
    assert (none.code, none.out) == (0, "")
    assert "nothing was found" in none.err


def test_filters_of_texts_and_of_threads_narrow(cli: Run, home: Home) -> None:
    assert cli("search", "parser", "--role", "assistant").out == ""
    titles = cli("search", "rewrite", "--role", "title").rows
    assert [(row[0], row[3], row[4]) for row in titles] == [(home.named, "title", "0")]
    assert cli("search", "the", "--cwd", "/home/dev/docs").rows[0][0] == home.plain
    assert cli("search", "the", "--until", "2026-03-04T00:00+00:00").out == ""
    assert cli("search", "the", "--since", "2026-03-04").rows
    everything = cli("search", "helper", "--all").rows
    assert {row[0] for row in everything} == {home.parent, home.child}


def test_archived_threads_are_found_when_asked_for(cli: Run, home: Home) -> None:
    everywhere = {row[0] for row in cli("search", "a*", "t*", "--with-archived").rows}
    archived = {row[0] for row in cli("search", "a*", "t*", "--archived").rows}
    active = {row[0] for row in cli("search", "a*", "t*").rows}
    assert everywhere == archived | active
    assert not archived & active


def test_pages_follow_one_another(cli: Run, home: Home) -> None:
    first = cli("search", "the", "--limit", "2", "--json").json
    rest = cli("search", "the", "--limit", "10", "--json", "--cursor", first["nextCursor"]).json
    ids = [hit["thread"]["id"] for hit in (*first["data"], *rest["data"])]
    assert len(first["data"]) == 2
    assert len(set(ids)) == len(ids)
    assert {home.named, home.plain, home.exec} <= set(ids)
    assert rest["nextCursor"] is None


def test_json_says_what_matches_and_where_to_read_on(cli: Run, home: Home) -> None:
    [hit] = cli("search", "docs", "--json").json["data"]
    [[start, end]] = hit["marks"]
    assert hit["snippet"][start:end] == "docs"
    assert (hit["role"], hit["tool"], hit["position"]) == ("user", None, 5)
    page = cli("turns", home.plain, "--cursor", hit["turnCursor"], "--limit", "1", "--json").json
    assert "write the docs" in str(page["data"][0]["items"])


def test_every_place_in_one_thread(cli: Run, home: Home) -> None:
    rows = cli("search", "parser", "--thread", home.named, "--asc").rows
    assert [row[3] for row in rows] == ["title", "user"]
    data = cli("search", "parser", "--thread", home.named, "--json").json["data"]
    assert [place["role"] for place in data] == ["user", "title"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (['"parser'], "has no end"),
        (["*"], "at the end of a word"),
        (["--", "->"], "no word"),
        ([""], "nothing to search for"),
        (["parser", "--since", "yesterday"], "is no time"),
        (["parser", "--cursor", "x"], "cursor"),
    ],
)
def test_bad_input_says_what_to_do(cli: Run, words: list[str], says: str) -> None:
    result = cli("search", *words)
    assert result.code == 2
    assert says in result.err
    assert "hint: " in result.err
