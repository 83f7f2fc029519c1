"""``threadstore show`` and ``turns``, and how ids are found."""

from __future__ import annotations

import pytest
from tests.cli.conftest import Home, Run
from tests.cli.test_export import rollout
from tests.cli.test_list import THREAD_KEYS


def test_show_prints_every_known_fact_by_name(cli: Run, home: Home) -> None:
    facts = dict(cli("show", home.named).rows)
    assert facts["id"] == home.named
    assert facts["name"] == "Parser rewrite"
    assert facts["preview"] == "fix the parser"
    assert facts["created"] == "2026-03-04T05:01:00Z"
    assert facts["directory"] == "/home/dev/parser"
    assert facts["git branch"] == "main"
    assert facts["model"] == "gpt-5.1"
    assert facts["tokens"] == "10, 3 of them output"
    assert facts["file"].endswith(f"{home.named}.jsonl")


def test_show_tells_own_tokens_and_inherited_ones_apart(cli: Run, home: Home) -> None:
    fork = cli("fork", home.named).out.strip()
    facts = dict(cli("show", fork).rows)
    assert facts["inherited tokens"] == "gpt-5.1: 10"
    assert "own tokens" not in facts
    assert "own tokens" not in dict(cli("show", home.named).rows)  # they are all there is


def test_show_json_is_the_bare_thread(cli: Run, home: Home) -> None:
    thread = cli("show", home.child, "--json").json
    assert list(thread) == THREAD_KEYS
    assert thread["parentThreadId"] == home.parent
    assert thread["source"]["subAgent"]["thread_spawn"]["parent_thread_id"] == home.parent


def test_turns_tell_who_said_what(cli: Run, home: Home) -> None:
    result = cli("turns", home.plain)
    assert result.code == 0
    head, user, agent, *_ = result.out.splitlines()
    assert head.startswith("turn  ")
    assert head.endswith("completed")
    assert user.split() == ["user", "write", "the", "docs"]
    assert agent.split() == ["agent", "done"]


def test_turns_json_is_a_page_of_protocol_turns(cli: Run, home: Home) -> None:
    page = cli("turns", home.plain, "--json").json
    assert list(page) == ["data", "nextCursor"]
    (turn,) = page["data"]
    assert list(turn) == [
        "id", "rootTurnId", "items", "itemsView", "status", "error", "startedAt", "completedAt",
        "durationMs",
    ]  # fmt: skip
    assert [item["type"] for item in turn["items"]] == ["userMessage", "agentMessage"]


def test_a_thread_without_turns_has_an_empty_conversation(cli: Run, home: Home) -> None:
    result = cli("turns", home.empty)
    assert (result.code, result.out) == (0, "")


def test_ids_may_be_given_in_full_in_part_or_by_name(cli: Run, home: Home) -> None:
    for text in (
        home.named,
        home.named.upper(),
        home.named.replace("-", ""),
        home.named[:-1],
        home.named.replace("-", "")[:30],
        "Parser rewrite",
    ):
        assert cli("show", text, "--json").json["id"] == home.named, text
    assert cli("show", "Old story", "--json").json["id"] == home.archived


@pytest.mark.parametrize(
    ("name", "shown"),
    [("two\nlines  here", "two lines here"), ("red \x1b[31m alert", "red \ufffd[31m alert")],
)
def test_a_name_may_be_given_as_lists_show_it(cli: Run, home: Home, name: str, shown: str) -> None:
    cli("rename", home.named, name)
    assert cli("list", "--search", shown.split(maxsplit=1)[0]).rows[0][1] == shown
    assert cli("show", shown, "--json").json["id"] == home.named
    cli("rename", home.plain, shown)  # a name that is exactly so comes first
    assert cli("show", shown, "--json").json["id"] == home.plain
    assert cli("show", name, "--json").json["id"] == home.named


def test_an_unknown_id_tells_where_to_look(cli: Run) -> None:
    assert "threadstore list" in cli("show", "00000000-0000-7000-8000-000000000000").err


def test_a_text_that_fits_several_threads_names_them_all(cli: Run, home: Home) -> None:
    cli("rename", home.plain, "Parser rewrite")
    for text in ("Parser rewrite", home.named[:4]):
        result = cli("rename", text, "other")
        assert result.code == 2
        assert home.named in result.err
        assert home.plain in result.err
    assert cli("show", home.plain, "--json").json["name"] == "Parser rewrite"


def test_archive_and_unarchive_know_which_namesake_is_meant(cli: Run, home: Home) -> None:
    cli("rename", home.plain, "Old story")
    assert cli("unarchive", "Old story").out.split()[-1] == home.archived
    cli("archive", home.archived)
    assert cli("archive", "Old story").out.split()[-1] == home.plain


def test_damaged_lines_are_left_out_and_counted(cli: Run, home: Home) -> None:
    with rollout(home, home.plain).open("ab") as file:
        file.write(b"not json\nnot json either\n")
    for words in (("turns",), ("turns", "--json"), ("export",), ("export", "--format", "json")):
        result = cli(*words, home.plain)
        assert result.code == 0
        assert "write the docs" in result.out
        assert "2 damaged lines" in result.err
    assert cli("export", home.plain, "--format", "jsonl").err == ""
    assert cli("turns", home.named).err == ""
