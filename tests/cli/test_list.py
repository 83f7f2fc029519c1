"""``threadstore list``."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Home, Run

THREAD_KEYS = [
    "id", "environments", "extra", "sessionId", "forkedFromId", "attachedToThreadId",
    "parentThreadId", "preview", "ephemeral", "section", "sectionEnteredAt", "projectId",
    "historyMode", "modelProvider", "model", "reasoningEffort", "createdAt", "updatedAt",
    "recencyAt", "status", "path", "cwd", "cliVersion", "originator", "source",
    "canAcceptDirectInput", "threadSource", "agentNickname", "agentRole", "gitInfo", "name",
    "daybreakEnabled", "turns",
]  # fmt: skip


def ids(cli: Run, *words: str) -> list[str]:
    result = cli("list", "--json", *words)
    assert (result.code, result.err) == (0, "")
    return [thread["id"] for thread in result.json["data"]]


def test_lists_used_threads_of_every_source_but_sub_agents_newest_first(
    cli: Run, home: Home
) -> None:
    assert ids(cli) == [home.parent, home.exec, home.plain, home.named]


def test_all_adds_sub_agents_and_empty_threads_but_no_archived_ones(cli: Run, home: Home) -> None:
    assert ids(cli, "--all") == [
        home.empty, home.child, home.parent, home.exec, home.plain, home.named
    ]  # fmt: skip


def test_archived_lists_only_archived_threads(cli: Run, home: Home) -> None:
    assert ids(cli, "--archived") == [home.archived]
    assert ids(cli, "--archived", "--all") == [home.archived]


def test_filters_of_one_kind_add_up_and_different_kinds_narrow(cli: Run, home: Home) -> None:
    assert ids(cli, "--source", "exec", "--source", "vscode") == [home.exec, home.plain]
    assert ids(cli, "--cwd", "/home/dev/docs", "--cwd", "/home/dev/parser") == [
        home.plain,
        home.named,
    ]
    assert ids(cli, "--cwd", "/home/dev/docs", "--source", "exec") == []
    assert ids(cli, "--provider", "other") == [home.exec]
    assert ids(cli, "--git-origin", "https://git.example.test/a.git") == [home.named]
    assert ids(cli, "--model", "none", "--model", "neither") == []
    assert ids(cli, "--search", "PARSER") == [home.named]


def test_naming_sub_agents_or_their_parent_shows_them(cli: Run, home: Home) -> None:
    assert ids(cli, "--source", "subagent") == [home.child]
    assert ids(cli, "--parent", home.parent) == [home.child]
    assert ids(cli, "--parent", "Parser rewrite") == []


@pytest.mark.parametrize("key", ["created", "updated", "recency"])
def test_every_sort_key_works_in_both_directions(cli: Run, home: Home, key: str) -> None:
    newest_first = [home.parent, home.exec, home.plain, home.named]
    assert ids(cli, "--sort", key) == newest_first
    assert ids(cli, "--sort", key, "--asc") == newest_first[::-1]


def test_pages_follow_the_cursor_to_the_end(cli: Run, home: Home) -> None:
    first = cli("list", "--json", "--limit", "3").json
    last = cli("list", "--json", "--limit", "3", "--cursor", first["nextCursor"]).json
    assert [thread["id"] for thread in first["data"] + last["data"]] == ids(cli)
    assert last["nextCursor"] is None


def test_a_page_that_is_not_the_last_tells_how_to_go_on(cli: Run, home: Home) -> None:
    result = cli("list", "--limit", "3")
    assert len(result.rows) == 3
    cursor = result.err.split("--cursor ")[1].strip()
    assert cli("list", "--limit", "3", "--cursor", cursor).rows[0][0] == home.named


def test_json_has_the_keys_of_codex_0_169_in_its_order(cli: Run, home: Home) -> None:
    result = cli("list", "--json", "--search", "parser").json
    assert list(result) == ["data", "nextCursor"]
    (thread,) = result["data"]
    assert list(thread) == THREAD_KEYS
    assert thread["name"] == "Parser rewrite"
    assert thread["preview"] == "fix the parser"
    assert thread["gitInfo"]["branch"] == "main"
    assert thread["status"] == {"type": "notLoaded"}
    assert thread["createdAt"] == 1772600460
    assert thread["turns"] == []
    assert thread["path"].startswith(str(home.path))


def test_a_pipe_gets_one_line_of_fields_for_each_thread(cli: Run, home: Home) -> None:
    assert cli("list", "--search", "parser").rows == [
        [home.named, "Parser rewrite", "2026-03-04T05:01:00Z", "/home/dev/parser", "cli", "main"]
    ]


def test_an_empty_list_is_no_error(cli: Run, home: Home) -> None:
    result = cli("list", "--search", "no such words")
    assert (result.code, result.out) == (0, "")
    assert "no such threads" in result.err


def test_a_home_that_does_not_exist_is_empty_and_stays_away(cli: Run, home: Home) -> None:
    nowhere = home.path / "nowhere"
    result = cli("--store", f"local:{nowhere}", "list")
    assert (result.code, result.out) == (0, "")
    assert "there is no such folder" in result.err
    assert not nowhere.exists()


def test_the_store_may_be_named_before_and_after_the_command(cli: Run, home: Home) -> None:
    nowhere = f"local:{home.path / 'nowhere'}"
    assert cli("--store", nowhere, "list").out == ""
    assert cli("list", "--store", nowhere).out == ""
    assert len(cli("list", "--store", "local:").rows) == 4
    assert cli("list", "--store", "memory:").out == ""


def test_relative_store_paths_start_at_the_working_directory(
    cli: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home.path.parent)
    assert len(cli("--store", "local:home", "list").rows) == 4


def test_the_databases_may_be_in_a_folder_of_their_own(
    cli: Run, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_SQLITE_HOME", str(tmp_path / "databases"))
    assert len(cli("list").rows) == 4
    assert (tmp_path / "databases" / "threadstore_1.sqlite").exists()
    assert cli("list", "--store", "memory:").code == 0


def test_a_long_preview_is_cut_and_json_has_all_of_it(cli: Run, home: Home) -> None:
    long = "word " * 1000
    cli("rename", home.plain, long)
    name = next(row for row in cli("list").rows if row[0] == home.plain)[1]
    assert len(name) <= 120
    assert name.endswith("…")
    assert cli("show", home.plain, "--json").json["name"] == long.strip()
