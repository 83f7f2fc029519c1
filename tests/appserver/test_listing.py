"""Finding threads: lists, filters, searches."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from tests.appserver.clients import Client
from tests.appserver.world import UNKNOWN, World

from threadstore.testing import items

Json = dict[str, Any]


async def named(client: Client, *names: str) -> list[str]:
    """Threads with these names, oldest first."""
    ids = []
    for name in names:
        thread_id = await client.start(cwd=f"/{name}")
        await client.turn(thread_id, f"about {name}")
        await client.ask("thread/name/set", threadId=thread_id, name=name)
        ids.append(thread_id)
    return ids


async def listed(client: Client, **params: Any) -> list[str]:
    """The names of the threads of a page."""
    return [thread["name"] for thread in (await client.ask("thread/list", **params))["data"]]


async def test_threads_are_listed_newest_first_without_their_turns(any_world: World) -> None:
    client = await any_world.connect()
    await named(client, "a", "b", "c")
    page = await client.ask("thread/list")
    assert [thread["name"] for thread in page["data"]] == ["c", "b", "a"]
    assert [thread["turns"] for thread in page["data"]] == [[], [], []]
    assert page["nextCursor"] is None


@pytest.mark.parametrize("key", [None, "created_at", "updated_at", "recency_at"])
async def test_pages_cover_every_thread_once_in_both_directions(
    client: Client, key: str | None
) -> None:
    names = ["a", "b", "c", "d", "e"]
    await named(client, *names)
    for direction, wanted in (("desc", names[::-1]), ("asc", names)):
        seen: list[str] = []
        cursor = None
        while True:
            page = await client.ask(
                "thread/list", limit=2, sortKey=key, sortDirection=direction, cursor=cursor
            )
            seen += [thread["name"] for thread in page["data"]]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert seen == wanted


async def test_a_page_backwards_begins_with_the_first_thread_again(any_world: World) -> None:
    client = await any_world.connect()
    await named(client, "a", "b")
    page = await client.ask("thread/list", sortKey="updated_at")
    await named(client, "c")
    newer = await listed(
        client, sortKey="updated_at", sortDirection="asc", cursor=page["backwardsCursor"]
    )
    assert newer == ["b", "c"]
    older = await client.ask("thread/list", sortKey="updated_at", sortDirection="asc")
    back = await listed(client, sortKey="updated_at", cursor=older["backwardsCursor"])
    assert back == ["a"]


async def test_lists_are_filtered(any_world: World) -> None:
    client = await any_world.connect()
    ids = await named(client, "a", "b", "c")
    await client.ask("thread/archive", threadId=ids[0])
    assert await listed(client) == ["c", "b"]
    assert await listed(client, archived=True) == ["a"]
    assert await listed(client, cwd="/b") == ["b"]
    assert await listed(client, cwd=["/b", "/c"]) == ["c", "b"]
    assert await listed(client, searchTerm="About B") == ["b"]
    assert await listed(client, modelProviders=["scripted"]) == ["c", "b"]
    assert await listed(client, modelProviders=["other"]) == []
    assert await listed(client, modelProviders=[]) == ["c", "b"]
    assert await listed(client, sourceKinds=["vscode"]) == ["c", "b"]
    assert await listed(client, sourceKinds=["cli", "exec", "appServer"]) == []
    assert await listed(client, sourceKinds=[]) == ["c", "b"]
    assert await listed(client, excludedThreadIds=[ids[1]]) == ["c"]
    assert await listed(client, parentThreadId=UNKNOWN) == []
    assert await listed(client, sectionId=UNKNOWN) == []
    assert await listed(client, projectId=UNKNOWN) == []


@pytest.mark.parametrize(("limit", "size"), [(0, 1), (-5, 1), (1, 1), (1000, 3), (None, 3)])
async def test_a_limit_out_of_bounds_is_brought_into_them(
    client: Client, limit: int | None, size: int
) -> None:
    await named(client, "a", "b", "c")
    assert len(await listed(client, limit=limit)) == size


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cursor": "garbage"}, "invalid cursor: garbage"),
        ({"cursor": ""}, "invalid cursor: "),
        ({"sortKey": "color"}, "unknown sort key: color"),
        ({"sortDirection": "up"}, "Invalid request: thread/list: "),
        ({"limit": "5"}, "Invalid request: thread/list: "),
        ({"cwd": 5}, "Invalid request: thread/list: "),
        ({"sourceKinds": "cli"}, "Invalid request: thread/list: "),
        ({"parentThreadId": "nope"}, ""),
    ],
)
async def test_a_list_that_cannot_be_is_refused(client: Client, wrong: Json, message: str) -> None:
    refused = await client.refusal("thread/list", **wrong)
    assert refused.message.startswith(message)
    assert refused.code == -32600


async def test_a_cursor_belongs_to_its_query(client: Client) -> None:
    await named(client, "a", "b", "c")
    cursor = (await client.ask("thread/list", limit=1))["nextCursor"]
    refused = await client.refusal("thread/list", cursor=cursor, archived=True)
    assert refused.message == f"invalid cursor: {cursor}"
    assert "filters" in refused.data["hint"]


async def test_a_filter_that_cannot_be_honoured_is_refused(client: Client) -> None:
    refused = await client.refusal("thread/list", originators=["tests"])
    assert refused.code == -32602


async def test_threads_are_found_by_what_was_said_in_them(any_world: World) -> None:
    client = await any_world.connect()
    apples, pears = await named(client, "apples", "pears")
    await client.turn(pears, "and what of GRAPES?")
    await client.ask("thread/unsubscribe", threadId=pears)
    found = await client.ask("thread/search", searchTerm="grapes")
    [hit] = found["data"]
    assert (hit["thread"]["id"], hit["snippet"]) == (pears, "and what of GRAPES?")
    by_name = await client.ask("thread/search", searchTerm="Apples")
    assert [hit["thread"]["id"] for hit in by_name["data"]] == [apples]
    assert (await client.ask("thread/search", searchTerm="plums"))["data"] == []
    assert (await client.refusal("thread/search", searchTerm="")).code == -32600


async def test_what_is_found_comes_in_pages(client: Client) -> None:
    ids = await named(client, "x1", "y", "x2", "x3")
    first = await client.ask("thread/search", searchTerm="about x", limit=2)
    assert [hit["thread"]["id"] for hit in first["data"]] == [ids[3], ids[2]]
    rest = await client.ask(
        "thread/search", searchTerm="about x", limit=2, cursor=first["nextCursor"]
    )
    assert [hit["thread"]["id"] for hit in rest["data"]] == [ids[0]]
    assert rest["nextCursor"] is None
    refused = await client.refusal("thread/search", searchTerm="x", cursor="garbage")
    assert refused.message == "invalid cursor: garbage"


async def test_a_page_of_what_is_found_can_be_turned_back(client: Client) -> None:
    ids = await named(client, "x1", "y", "x2", "x3")
    page = await client.ask("thread/search", searchTerm="about x", limit=2)
    newer = await client.ask(
        "thread/search",
        searchTerm="about x",
        sortDirection="asc",
        cursor=page["backwardsCursor"],
    )
    assert [hit["thread"]["id"] for hit in newer["data"]] == [ids[3]]
    back = await client.ask(
        "thread/search", searchTerm="about x", cursor=newer["backwardsCursor"], limit=2
    )
    assert back["data"] == page["data"]
    nothing = await client.ask("thread/search", searchTerm="plums")
    assert nothing["backwardsCursor"] is None


async def test_places_are_found_in_a_thread(client: Client) -> None:
    thread_id = await client.start(cwd="/a")
    turn = await client.turn(thread_id, "𝔘 one fish, two Fish" + " and so on" * 20)
    page = await client.ask("thread/searchOccurrences", threadId=thread_id, searchTerm="fish")
    first, second = page["data"]
    assert first["turnId"] == second["turnId"] == turn["id"]
    place = second["snippetMatchRange"]
    units = second["snippet"].encode("utf-16-le")[place["start"] * 2 : place["end"] * 2]
    assert units.decode("utf-16-le") == "Fish"
    one = await client.ask(
        "thread/searchOccurrences", threadId=thread_id, searchTerm="fish", limit=1
    )
    rest = await client.ask(
        "thread/searchOccurrences", threadId=thread_id, searchTerm="fish", cursor=one["nextCursor"]
    )
    assert (one["data"], rest["data"]) == ([first], [second])
    there = await client.ask(
        "thread/turns/list", threadId=thread_id, cursor=first["turnCursor"], limit=1
    )
    assert [turn["id"] for turn in there["data"]] == [turn["id"]]
    refused = await client.refusal(
        "thread/searchOccurrences", threadId=thread_id, searchTerm="fish", cursor="9" * 5000
    )
    assert refused.message.startswith("invalid cursor: 999")


async def test_places_are_found_in_a_turn_with_another_one_inside(world: World) -> None:
    """As Codex 0.169 writes a review."""
    client = await world.connect()
    thread_id = await client.start(cwd="/a", historyMode="paginated")
    await client.turn(thread_id, "begin")
    await client.ask("thread/unsubscribe", threadId=thread_id)
    said = {"type": "AgentMessage", "content": [{"type": "Text", "text": "the last fish"}]}
    lines = [
        items.user_item_completed(thread_id, "outer", "a fish"),
        items.task_started("inner"),
        items.user_item_completed(thread_id, "inner", "another fish"),
        items.item_completed(thread_id, "outer", {**said, "id": "last"}),
        items.task_complete("outer"),
    ]
    store = world.manager.store
    await store.resume_thread(thread_id)
    await store.append_items(thread_id, lines)
    await store.shutdown_thread(thread_id)
    page = await client.ask("thread/searchOccurrences", threadId=thread_id, searchTerm="fish")
    assert [hit["turnId"] for hit in page["data"]] == ["outer", "inner", "outer"]
    for hit in page["data"]:
        there = await client.ask(
            "thread/turns/list", threadId=thread_id, cursor=hit["turnCursor"], limit=1
        )
        [turn] = there["data"]
        assert turn["id"] == hit["turnId"]
        assert hit["itemId"] in [item["id"] for item in turn["items"]]


def test_a_start_does_not_load_what_only_searches_need() -> None:
    code = "import sys, threadstore.appserver.serving; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "threadstore.appserver.handlers.searching" in loaded
    assert [name for name in loaded if name.startswith("threadstore.search")] == []
