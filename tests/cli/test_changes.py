"""Commands that change a thread: rename, set, archive, unarchive, delete, fork."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.cli.conftest import Home, Run

from threadstore.factory import open_store
from threadstore.testing.items import event


def thread(cli: Run, text: str) -> Any:
    return cli("show", text, "--json").json


def test_rename_sets_and_clears_the_name(cli: Run, home: Home) -> None:
    assert cli("rename", home.plain, "Docs").code == 0
    assert thread(cli, home.plain)["name"] == "Docs"
    assert cli("rename", "Docs", "--clear").code == 0
    assert thread(cli, home.plain)["name"] is None
    assert thread(cli, home.plain)["preview"] == "write the docs"


def test_archived_threads_can_be_renamed(cli: Run, home: Home) -> None:
    assert cli("rename", home.archived, "Older story").code == 0
    assert thread(cli, home.archived)["name"] == "Older story"


def test_rename_wants_either_a_name_or_clear(cli: Run, home: Home) -> None:
    assert cli("rename", home.plain).code == 2
    assert cli("rename", home.plain, "a", "--clear").code == 2
    assert cli("rename", home.plain, "  ").code == 2
    refused = cli("rename", home.plain, "")
    assert refused.code == 2
    assert "--clear" in refused.err
    assert thread(cli, home.plain)["name"] is None


def test_set_changes_what_is_named_and_leaves_the_rest(cli: Run, home: Home) -> None:
    assert cli("set", home.named, "--git-branch", "next", "--clear-git-sha").code == 0
    assert thread(cli, home.named)["gitInfo"] == {
        "sha": None, "branch": "next", "originUrl": "https://git.example.test/a.git"
    }  # fmt: skip
    assert cli("set", home.named, "--memory-mode", "disabled").code == 0
    assert dict(cli("show", home.named).rows)["memory"] == "disabled"
    assert thread(cli, home.named)["gitInfo"]["branch"] == "next"


def test_set_drops_credentials(cli: Run, home: Home) -> None:
    cli("set", home.plain, "--git-origin-url", "https://ann:secret@git.example.test/a.git")
    assert thread(cli, home.plain)["gitInfo"]["originUrl"] == "https://git.example.test/a.git"


def test_set_refuses_nothing_empty_values_and_contradictions(cli: Run, home: Home) -> None:
    before = thread(cli, home.named)
    assert cli("set", home.named).code == 2
    assert "--clear-git-branch" in cli("set", home.named, "--git-branch", "").err
    assert cli("set", home.named, "--git-branch", " ").code == 2
    assert cli("set", home.named, "--git-sha", "1", "--clear-git-sha").code == 2
    assert cli("set", home.named, "--memory-mode", "polluted").code == 2
    assert thread(cli, home.named) == before


def test_archive_takes_sub_agents_along_and_unarchive_brings_them_back(
    cli: Run, home: Home
) -> None:
    archived = cli("archive", home.parent)
    assert archived.out == f"archived 2 threads: {home.parent} {home.child}\n"
    assert len(cli("list", "--archived", "--all").rows) == 3
    assert cli("unarchive", home.parent).out.startswith("unarchived 2 threads:")
    assert len(cli("list", "--all").rows) == 6


def test_archiving_twice_and_unarchiving_an_active_thread_is_refused(cli: Run, home: Home) -> None:
    assert cli("archive", home.archived).code == 2
    assert cli("unarchive", home.plain).code == 2


def test_delete_takes_sub_agents_along(cli: Run, home: Home) -> None:
    result = cli("delete", home.parent, "--yes")
    assert result.out == f"deleted 2 threads: {home.parent} {home.child}\n"
    assert cli("show", home.parent).code == 2
    assert cli("show", home.child).code == 2


def test_delete_without_anybody_to_ask_needs_yes(cli: Run, home: Home) -> None:
    result = cli("delete", home.plain)
    assert result.code == 2
    assert "--yes" in result.err
    assert thread(cli, home.plain)["id"] == home.plain


def test_fork_prints_the_id_of_a_thread_with_the_same_history(cli: Run, home: Home) -> None:
    result = cli("fork", home.named, "--cwd", "/elsewhere", "--name", "Second try")
    assert result.code == 0
    fork = thread(cli, result.out.strip())
    assert fork["forkedFromId"] == home.named
    assert fork["cwd"] == "/elsewhere"
    assert fork["name"] == "Second try"
    assert fork["preview"] == "fix the parser"
    assert "fix the parser" in cli("turns", "Second try").out


def test_a_fork_keeps_directory_and_name_unless_told_otherwise(cli: Run, home: Home) -> None:
    fork = thread(cli, cli("fork", home.named).out.strip())
    assert fork["cwd"] == "/home/dev/parser"
    assert fork["name"] == "Parser rewrite"


def test_a_fork_starts_where_it_is_told_whatever_its_source_was_set_to(
    cli: Run, home: Home
) -> None:
    settings = {"cwd": "/home/dev/docs", "model": "m"}
    applied = event("thread_settings_applied", thread_id=home.plain, thread_settings=settings)

    async def apply() -> None:
        async with open_store(f"local:{home.path}") as store:
            await store.resume_thread(home.plain)
            await store.append_items(home.plain, [applied])

    asyncio.run(apply())
    fork = cli("fork", home.plain, "--cwd", "/elsewhere").out.strip()
    assert thread(cli, fork)["cwd"] == "/elsewhere"
    assert thread(cli, home.plain)["cwd"] == "/home/dev/docs"


def test_a_blank_name_forks_nothing(cli: Run, home: Home) -> None:
    assert cli("fork", home.named, "--name", " ").code == 2
    assert len(cli("list", "--all").rows) == 6
