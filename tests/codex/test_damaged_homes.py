"""Threads that Codex hides or has lost track of, and what ``doctor --fix`` does about it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from tests.codex.damage import WELL, DamagedHome, Seen
from tests.codex.releases import Release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.codex.cells import Cells
    from tests.codex.model_server import ModelServer

    Damage = Callable[[DamagedHome, str], object]

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

KEEPS_STALE_PATHS = (0, 144, 0)
"""From about here on Codex does not correct the path in a row when it lists the file."""


def row(assignment: str) -> Damage:
    """Other values in the thread's row."""
    return lambda home, word: home.sql(
        f"UPDATE threads SET {assignment} WHERE id = ?", home.ids[word]
    )


def moved(folder: str, name: str = "") -> Damage:
    """The log in another folder of the home, maybe under another name."""

    def move(home: DamagedHome, word: str) -> None:
        path, target = home.rollout(word), home.path / folder
        target.mkdir(parents=True, exist_ok=True)
        path.rename(target / (name or path.name))

    return move


IN_ROWS: dict[str, Damage] = {
    "row missing": lambda home, word: home.sql("DELETE FROM threads WHERE id = ?", home.ids[word]),
    "row with a stale path": row("rollout_path = '/gone' || rollout_path"),
    "row says archived, file does not": row("archived = 1, archived_at = 5"),
    "row with an archive mark that is none": row("archived = 2"),
    "row without a preview": row("preview = ''"),
    "row without preview, message and title": row("preview='', first_user_message='', title=''"),
    "row without a source": row("source = 'unknown'"),
}
"""What hides a thread from the list that Codex makes from its rows."""
WITHOUT_PREVIEW = {"row without a preview", "row without preview, message and title"}
FIRST_WITH_PREVIEWS = Release(0, 131, 0)
"""Earlier ones have no column for it, and start without their database if they refuse it."""
NO_PROVIDER: dict[str, Damage] = {"row without a model provider": row("model_provider = ''")}
ODD_PLACES: dict[str, Damage] = {
    "log in a folder without a date": moved("sessions/old"),
    "log directly in sessions": moved("sessions"),
    "log under another name": moved("sessions/2026/01/01", "rollout-renamed.jsonl"),
}


def differing(seen: dict[str, Seen], words: Iterable[str], **wanted: bool) -> dict[str, Seen]:
    """The threads of which something else is true than *wanted*."""
    return {
        word: seen[word]
        for word in words
        if any(getattr(seen[word], field) is not value for field, value in wanted.items())
    }


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_threads_that_rows_hide_are_listed_again(
    release: Release, mode: str, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    if mode not in release.modes:
        return
    previews = release >= FIRST_WITH_PREVIEWS
    in_rows = {w: d for w, d in IN_ROWS.items() if previews or w not in WITHOUT_PREVIEW}
    words = ["sound", *in_rows, *NO_PROVIDER, *ODD_PLACES]
    home = DamagedHome(release, mode, model, tmp_path, words, named=True)
    for word, damage in (in_rows | NO_PROVIDER | ODD_PLACES).items():
        damage(home, word)
    before = home.look()
    assert before["sound"] == WELL._replace(name="About sound")
    assert differing(before, in_rows | ODD_PLACES, in_rows=False) == {}
    assert differing(before, ODD_PLACES, in_files=False) == {}
    if release >= KEEPS_STALE_PATHS:
        assert not before["row with a stale path"].continued
        assert not before["log directly in sessions"].continued
    assert not before["row without a model provider"].continued
    assert not before["log under another name"].read

    assert {finding.thread_id for finding in await home.doctor() if finding.fixed} >= {
        thread_id for word, thread_id in home.ids.items() if word != "sound"
    }
    assert {f.code for f in await home.doctor()} <= {"odd_place", "odd_name"}
    after = home.use()
    for word in ["sound", *in_rows, *NO_PROVIDER]:
        assert after[word] == WELL._replace(name=f"About {word}"), word
        if word != "sound":
            cells.works("damaged", f"{word}: fixed")
    for word in IN_ROWS.keys() - in_rows.keys():
        cells.unsupported("damaged", f"{word}: fixed", "its rows have no preview yet")
    for word in ODD_PLACES:
        if mode == "paginated" and word == "log under another name":
            assert after[word] == Seen(True, False, False, None, False, False)
            why = "Codex looks for the history of a paginated thread by the name of its file"
            cells.unsupported("damaged", "paginated log under another name: fixed", why)
            continue
        assert after[word] == WELL._replace(in_files=False), word
        how = "read, continued and in lists of the database alone; never in the default list"
        cells.differs("damaged", f"{word}: fixed", how)


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_threads_of_a_moved_home_are_found_at_their_new_place(
    release: Release, mode: str, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    if mode not in release.modes:
        return
    home = DamagedHome(release, mode, model, tmp_path, ["one", "two"], named=True)
    home.path = home.path.rename(tmp_path / "moved")
    before = home.look()
    assert differing(before, home.ids, in_rows=False) == {}
    if release >= KEEPS_STALE_PATHS:
        assert differing(before, home.ids, continued=False) == {}

    assert [finding.code for finding in await home.doctor()] == ["stale_path"] * 2
    assert await home.doctor() == []
    assert home.use() == {word: WELL._replace(name=f"About {word}") for word in home.ids}
    cells.works("damaged", "moved home: fixed")


async def test_a_file_in_the_archive_counts_as_archived(
    release: Release, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    home = DamagedHome(release, "legacy", model, tmp_path, ["moved"], named=True)
    moved("archived_sessions")(home, "moved")
    await home.doctor()
    with release.serve(home.path, home.cwd) as server:
        (thread,) = server.call("thread/list", archived=True, useStateDbOnly=True)["data"]
        assert thread["id"] == home.ids["moved"]
        server.call("thread/unarchive", threadId=home.ids["moved"])
    assert home.use() == {"moved": WELL._replace(name="About moved")}
    cells.works("damaged", "file in the archive, row says active: fixed")


BREAKS_LISTS: dict[str, str] = {
    "word instead of a number of tokens": "tokens_used = 'many'",
    "word instead of a time": "created_at_ms = 'soon'",
    "history mode that nobody knows": "history_mode = 'novel'",
}


@pytest.mark.parametrize("what", BREAKS_LISTS)
async def test_a_row_on_which_lists_break_off_is_corrected(
    release: Release, what: str, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    home = DamagedHome(release, "legacy", model, tmp_path, ["bad", "other"])
    with_mode = home_has_column(home, "history_mode")
    if "history" in what and not with_mode:
        return
    row(BREAKS_LISTS[what])(home, "bad")
    assert differing(home.look(), home.ids, in_rows=False) == {}
    (finding,) = await home.doctor()
    assert (finding.code, finding.fixed) == ("damaged_row", True)
    assert await home.doctor() == []
    assert home.use() == dict.fromkeys(home.ids, WELL)
    cells.works("damaged", f"row with a {what}: fixed")


def home_has_column(home: DamagedHome, name: str) -> bool:
    """Whether rows of this release have the column."""
    return name in {column[1] for column in home.rows("PRAGMA table_info(threads)")}


async def test_a_row_that_belongs_to_no_thread_is_reported_and_stays(
    release: Release, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    home = DamagedHome(release, "legacy", model, tmp_path, ["one"])
    text = "preview" if release >= FIRST_WITH_PREVIEWS else "first_user_message"
    home.sql(
        "INSERT INTO threads (id, rollout_path, created_at, updated_at, source, model_provider,"
        f" cwd, title, sandbox_policy, approval_mode, {text})"
        " VALUES ('no-uuid', '/x', 1, 1, 'vscode', 'scripted', '/x', 't', 'x', 'y', 'p')"
    )
    findings = await home.doctor()
    assert any("lists nothing while the row is there" in found.reason for found in findings)
    assert home.use() == {"one": WELL._replace(in_rows=False)}
    why = "nothing is ever removed: doctor names the row that keeps Codex from listing its rows"
    cells.unsupported("damaged", "row whose id is none: fixed", why)


async def test_an_interrupted_backfill_no_longer_keeps_codex_from_starting(
    release: Release, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    home = DamagedHome(release, "legacy", model, tmp_path, ["one"])
    home.sql("UPDATE backfill_state SET status='running', updated_at=strftime('%s','now')")
    with pytest.raises(RuntimeError), release.serve(home.path, home.cwd):
        pass
    (finding,) = await home.doctor()
    assert (finding.code, finding.fixed) == ("interrupted_backfill", True)
    assert home.use() == {"one": WELL}
    cells.works("damaged", "interrupted backfill: fixed")


@pytest.mark.parametrize("why", ["rows lost", "watermark too far", "file of 0 bytes"])
async def test_threads_that_the_database_has_lost_come_back_with_their_names(
    release: Release, why: str, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    home = DamagedHome(release, release.modes[-1], model, tmp_path, ["one", "two"], named=True)
    if why == "file of 0 bytes":
        for path in home.path.glob("state_5.sqlite*"):
            path.unlink()
        home.database.write_bytes(b"")
    else:
        home.sql("DELETE FROM threads")
    if why == "watermark too far":
        home.sql("UPDATE backfill_state SET status = 'pending', last_watermark = 'zzzz'")
    assert {finding.code for finding in await home.doctor()} == {"unindexed"}
    row_name = f"database without threads ({why}): fixed"
    if why == "file of 0 bytes" and "paginated" in release.modes:
        # The database that we make has no column for the names of paginated threads.
        assert {seen.name for seen in home.use().values()} == {None}
        await home.doctor()
        how = "names of paginated threads come back with a second fix, after Codex has run once"
        cells.differs("damaged", row_name, how)
    else:
        cells.works("damaged", row_name)
    assert home.use() == {word: WELL._replace(name=f"About {word}") for word in home.ids}


@pytest.mark.parametrize("what", ["no database at all", "migration of somebody else"])
async def test_a_database_that_codex_refuses_can_be_moved_away_as_the_doctor_says(
    release: Release, what: str, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    home = DamagedHome(release, release.modes[-1], model, tmp_path, ["one"], named=True)
    if what == "no database at all":
        for path in home.path.glob("state_5.sqlite*"):
            path.unlink()
        home.database.write_bytes(b"no database" * 500)
    else:
        home.sql("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 3")
        refuses = release >= FIRST_WITH_PREVIEWS
        expected = pytest.raises(RuntimeError) if refuses else contextlib.nullcontext()
        with expected, release.serve(home.path, home.cwd):
            pass
    (finding,) = (f for f in await home.doctor() if f.code.startswith("state_database"))
    assert "move it" in finding.reason
    for path in home.path.glob("state_5.sqlite*"):
        path.rename(tmp_path / path.name)
    home.look()
    await home.doctor()
    assert home.use()["one"].continued
    with release.serve(home.path, home.cwd):
        pass
    await home.doctor()
    assert home.use() == {"one": WELL._replace(name="About one")}
    how = "doctor says so; with the file moved away Codex makes a new one, and names come back"
    cells.differs("damaged", f"state database: {what}", how)


async def test_names_that_were_lost_come_back(
    release: Release, model: ModelServer, tmp_path: Path, cells: Cells
) -> None:
    words = ["lost in the row", "glued", "glued to", "lost in the index"]
    home = DamagedHome(release, "legacy", model, tmp_path, words, named=True)
    row("title = first_user_message")(home, "lost in the row")
    index = home.path / "session_index.jsonl"
    lines = index.read_bytes().splitlines()
    index.write_bytes(lines[0] + b"\n" + lines[1] + lines[2])
    for word in ("glued", "glued to"):
        row("title = first_user_message")(home, word)
    assert {word: seen.name for word, seen in home.look().items()} == {
        "lost in the row": "About lost in the row",
        "glued": None,
        "glued to": None,
        "lost in the index": "About lost in the index",
    }
    await home.doctor()
    assert {finding.code for finding in await home.doctor()} <= {"damaged_name", "clobbered_name"}
    assert {finding.code for finding in await home.doctor()} == {"damaged_name"}
    index.write_bytes(index.read_bytes())
    assert home.use() == {word: WELL._replace(name=f"About {word}") for word in words}
    for found in ("name index glued together", "name in the index or in the row only"):
        cells.works("damaged", f"{found}: fixed")
