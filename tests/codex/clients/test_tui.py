"""Codex's terminal client runs on our server, on a local store and on a PostgreSQL one."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.codex.app_server import write_config
from tests.codex.clients.scenes import PLAIN, TITLE, SceneModel
from tests.codex.clients.serving import serving
from tests.codex.clients.terminal import DOWN, ENTER, ESCAPE
from tests.codex.clients.tui import READY, Tui

from threadstore.factory import open_store
from threadstore.history.turns import build_turns
from threadstore.metadata import StoredThread
from threadstore.protocol.codex_items import turn_items
from threadstore.queries import ThreadQuery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from threadstore.testing.postgres_server import PostgresServer

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

TOOL_SAID = "The tool said: Dear Ada"
HALF = "This answer takes its time."
INTERRUPTED = "Conversation interrupted"


class Place(NamedTuple):
    """A server on a store, and where its clients run."""

    url: str
    store: str
    given: str | None
    """What the server is told of its store."""
    server_home: Path
    home: Path
    cwd: Path
    model: SceneModel

    def tui(self, *arguments: str) -> Tui:
        """A terminal client."""
        return Tui(self.url, self.home, self.cwd, *arguments)

    def threads(self, *, archived: bool = False) -> list[StoredThread]:
        """What the store lists, newest first."""

        async def read() -> list[StoredThread]:
            async with open_store(self.store) as store:
                page = await store.list_threads(ThreadQuery(archived=archived))
                return [*page.items]

        return asyncio.run(read())

    def another_server(self) -> AbstractContextManager[str]:
        """The URL of one more server on the same store."""
        return serving(self.server_home, self.cwd, store=self.given)

    def prompts(self, thread_id: str) -> list[str]:
        """What the user said, in the turns that count."""

        async def read() -> list[str]:
            async with open_store(self.store) as store:
                turns = build_turns((await store.load_history(thread_id)).items)
                items = [item for turn in turns for item in turn_items(turn)]
                return [
                    str(item["content"][0]["text"])
                    for item in items
                    if item["type"] == "userMessage"
                ]

        return asyncio.run(read())

    def shown(self, thread_id: str) -> list[list[str]]:
        """What the turns of a thread show: the kinds of their items."""

        async def read() -> list[list[str]]:
            async with open_store(self.store) as store:
                turns = build_turns((await store.load_history(thread_id)).items)
                return [[str(item["type"]) for item in turn_items(turn)] for turn in turns]

        return asyncio.run(read())


@pytest.fixture
def model() -> Iterator[SceneModel]:
    with SceneModel() as server:
        yield server


@pytest.fixture(params=["local", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, model: SceneModel) -> Iterator[Place]:
    """A server on each kind of store."""
    home, cwd = tmp_path / "home", tmp_path / "folder"
    cwd.mkdir()
    write_config(home, model.base_url)
    if request.param == "local":
        store, given = f"local:{home}", None
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        store = given = postgres.dsn(postgres.new_database())
    with serving(home, cwd, store=given) as url:
        yield Place(url, store, given, home, tmp_path / "client", cwd, model)


def test_the_terminal_client_does_all_it_can(place: Place) -> None:
    thread_id = first_conversation(place)
    fork_id = resumed_and_forked(place, thread_id)
    with place.tui("resume", "--last") as tui:
        tui.wait("In the fork")
        tui.say("Once more at last", PLAIN)
        tui.quit()
    picked(place)
    archived(place, thread_id)
    found = {thread.id: thread.name for thread in place.threads()}
    assert found == {thread_id: "Tea", fork_id: "Coffee"}


def first_conversation(place: Place) -> str:
    """Turns of all kinds; the thread's id."""
    gates = place.model.gates
    with place.tui() as tui:
        tui.say("Hello there", PLAIN)
        tui.wait(TITLE)
        tui.say("Use it [scene tool]", TOOL_SAID)
        assert "Called greeting" in tui.text
        tui.send("Stop me [scene slow]")
        tui.wait(HALF)
        tui.press(ESCAPE)
        tui.answered("Stop me", INTERRUPTED)
        tui.send("Steer me [scene slow]")
        tui.answered("Steer me", HALF)
        tui.send("And this too")
        gates["Steer me [scene slow]"].set()
        tui.answered("And this too", PLAIN)
        tui.command("/rename Tea")
        tui.wait("· Tea")
        tui.command("/compact")
        tui.wait("Context compacted")
        tui.say("After the compaction", PLAIN)
        left = tui.quit()
    found = re.search(r"resume ([0-9a-f-]{36})", left)
    assert found, left
    return found[1]


def resumed_and_forked(place: Place, thread_id: str) -> str:
    """Everything is shown again; the fork's id."""
    with place.tui("resume", thread_id) as tui:
        tui.wait(lambda text: "After the compaction" in text and READY in text)
        for seen in ("Hello there", TOOL_SAID, "Called greeting", HALF, "And this too"):
            assert seen in tui.text
        tui.say("Resumed by id", PLAIN)
        tui.command("/fork")
        tui.wait("Thread forked from Tea")
        tui.say("In the fork", PLAIN)
        tui.command("/rename Coffee")
        tui.wait("· Coffee")
        left = tui.quit()
    found = re.findall(r"resume ([0-9a-f-]{36})", left)
    assert found[-1] != thread_id
    return str(found[-1])


def picked(place: Place) -> None:
    """The picker shows both, the one that was used last first."""
    with place.tui("resume") as tui:
        screen = tui.wait(lambda text: "Tea" in text and "Coffee" in text and "1 / 2" in text)
        assert screen.index("Coffee") < screen.index("Tea")
        tui.press(DOWN)
        tui.wait("2 / 2")
        tui.press(ENTER)
        tui.wait("Resumed by id")
        tui.say("Picked from the list", PLAIN)
        assert "In the fork" not in tui.text
        tui.quit()


def archived(place: Place, thread_id: str) -> None:
    """Threads are archived and come back from the command line."""
    with place.tui("archive", "Tea") as tui:
        screen = tui.gone()
    assert "Archived" in screen
    assert [thread.id for thread in place.threads(archived=True)] == [thread_id]
    with place.tui("unarchive", thread_id) as tui:
        screen = tui.gone()
    assert "Unarchived" in screen
    assert place.threads(archived=True) == []


def test_what_the_terminal_client_wrote_is_whole(place: Place) -> None:
    with place.tui() as tui:
        tui.say("Hello there", PLAIN)
        tui.say("Use it [scene tool]", TOOL_SAID)
        tui.quit()
    [thread] = place.threads()
    assert (thread.name, thread.preview) == (TITLE, "Hello there")
    assert thread.cwd == str(place.cwd)
    assert place.shown(thread.id) == [
        ["userMessage", "agentMessage"],
        ["userMessage", "dynamicToolCall", "agentMessage"],
    ]


def test_two_terminals_show_one_thread_and_one_of_them_goes_back(place: Place) -> None:
    with place.tui() as tui:
        tui.say("Hello there", PLAIN)
        thread_id = shown_id(tui)
        with place.tui("resume", thread_id) as other:
            other.wait("Hello there")
            tui.say("Said by the first", PLAIN)
            other.answered("Said by the first", PLAIN)
            other.say("Said by the second", PLAIN)
            tui.answered("Said by the second", PLAIN)
            other.quit()
        tui.press(ESCAPE)
        tui.wait("esc again to edit previous message")
        tui.press(ESCAPE)
        tui.wait("T R A N S C R I P T")
        tui.press(ENTER)
        tui.wait("Conversation reverted to this point")
        tui.press(ENTER)  # what was said is in the composer again
        tui.answered("Conversation reverted", PLAIN)
        tui.quit()
    assert place.prompts(thread_id) == ["Hello there", "Said by the first", "Said by the second"]


def test_a_terminal_at_another_server_follows_and_takes_over(place: Place) -> None:
    with place.tui() as tui, place.another_server() as url:
        tui.say("Hello there", PLAIN)
        thread_id = shown_id(tui)
        with Tui(url, place.home, place.cwd, "resume", thread_id) as other:
            other.wait("Hello there")
            tui.say("Said at the first server", PLAIN)
            other.answered("Said at the first server", PLAIN)
            tui.quit()
            other.say("Said at the second server", PLAIN)
            other.quit()
    assert place.prompts(thread_id)[1:] == ["Said at the first server", "Said at the second server"]


def test_what_is_not_to_be_had_here_does_not_end_the_terminal_client(place: Place) -> None:
    with place.tui() as tui:
        tui.say("Hello there", PLAIN)
        tui.press("!ls")
        tui.wait("Shell mode")
        tui.press(ENTER)
        tui.wait("This server runs no shell commands.")
        tui.command("/goal Be good")
        tui.wait("Failed to set thread goal")
        tui.command("/review Look at the tests")
        tui.answered("› Look at the tests", PLAIN)
        tui.say("Still here", PLAIN)
        tui.quit()


def shown_id(tui: Tui) -> str:
    """The id of the thread that a client shows."""
    tui.command("/status")
    screen = tui.wait("Session:")
    found = re.search(r"Session: +([0-9a-f-]{36})", screen)
    assert found, screen
    return found[1]


def test_the_terminal_client_connects_to_a_socket_in_the_file_system(
    tmp_path: Path, model: SceneModel
) -> None:
    home, cwd = tmp_path / "home", tmp_path / "folder"
    cwd.mkdir()
    write_config(home, model.base_url)
    with (
        serving(home, cwd, listen=f"unix://{tmp_path / 'socket'}") as url,
        Tui(url, tmp_path / "client", cwd) as tui,
    ):
        tui.say("Hello there", PLAIN)
