"""How sessions are opened, listened to and closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.engine.helpers import (
    SETTINGS,
    add,
    forked,
    gate,
    outline,
    reached,
    reply,
    resumed,
    said,
    say,
    started,
    statuses,
    told,
    types,
)

from threadstore.engine import Image, LocalImage, Session, SessionSettings, TaskComplete, Text
from threadstore.errors import Conflict, InvalidRequest, ThreadNotFound
from threadstore.ids import new_thread_id
from threadstore.metadata import NewThread
from threadstore.testing.scripted_model import Call, Reply, Say, ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from threadstore.manager import ThreadManager


# Opening


async def test_nothing_is_stored_before_the_first_turn(any_manager: ThreadManager) -> None:
    session, _ = await started(any_manager, [])
    assert session.status == "idle"
    assert session.turn is None
    await session.close()
    with pytest.raises(ThreadNotFound):
        await any_manager.store.read_thread(session.id)


async def test_a_new_thread_is_described_by_its_first_turn(any_manager: ThreadManager) -> None:
    session, _ = await started(
        any_manager,
        [reply(Say("ok"))],
        settings=msgspec.structs.replace(SETTINGS, instructions="Do.", reasoning_effort="high"),
    )
    await say(session, "hi there")
    (found,) = (await any_manager.list_threads()).items
    assert found.id == session.id
    assert (found.preview, found.title, found.model) == ("hi there", "hi there", "m1")
    assert (found.reasoning_effort, found.cwd) == ("high", "/a")
    await session.close()


async def test_a_new_thread_needs_a_model(manager: ThreadManager) -> None:
    with pytest.raises(InvalidRequest, match="needs a model"):
        await Session.start(
            manager, NewThread(cwd="/a"), ScriptedModel([]), settings=SessionSettings()
        )
    assert manager.loaded() == ()


async def test_two_tools_of_one_name_are_refused_before_there_is_a_thread(
    manager: ThreadManager,
) -> None:
    with pytest.raises(InvalidRequest, match="two tools"):
        await started(manager, [], tools=[add, add])
    assert manager.loaded() == ()


async def test_a_resumed_thread_keeps_its_model_effort_and_instructions(
    any_manager: ThreadManager,
) -> None:
    own = msgspec.structs.replace(SETTINGS, instructions="Do.", reasoning_effort="high")
    session, first = await started(any_manager, [reply(Say("a"))], settings=own)
    await say(session, "one")
    await session.close()
    session, model = await resumed(
        any_manager, session.id, [reply(Say("b"))], settings=SessionSettings()
    )
    await say(session, "two")
    request = model.requests[0]
    assert (request.model, request.instructions) == ("m1", "Do.")
    assert (request.reasoning_effort, request.reasoning_summary) == ("high", "auto")
    assert request.cache_key == session.id
    assert request.input[: len(first.requests[0].input)] == first.requests[0].input
    await session.close()


async def test_a_thread_that_does_not_exist_or_is_archived_is_not_resumed(
    any_manager: ThreadManager,
) -> None:
    with pytest.raises(ThreadNotFound):
        await resumed(any_manager, new_thread_id(), [])
    with pytest.raises((InvalidRequest, ThreadNotFound)):
        await resumed(any_manager, "no id", [])
    session, _ = await started(any_manager, [reply(Say("a"))])
    await say(session, "one")
    await session.close()
    await any_manager.archive(session.id)
    with pytest.raises(InvalidRequest, match="archived"):
        await resumed(any_manager, session.id, [])
    assert any_manager.loaded() == ()


async def test_a_thread_has_one_session_at_a_time(any_manager: ThreadManager) -> None:
    session, _ = await started(any_manager, lambda _: reply(Say("a")))
    await say(session, "one")
    with pytest.raises(Conflict, match="already has a session"):
        await resumed(any_manager, session.id, [])
    await say(session, "two")
    await session.close()
    again, _ = await resumed(any_manager, session.id, [reply(Say("b"))])
    await say(again, "three")
    assert await statuses(any_manager, session.id) == ["completed"] * 3
    await again.close()


@pytest.mark.parametrize("harness", ["local"], indirect=True)
async def test_of_two_sessions_that_are_opened_together_one_is_refused(
    any_manager: ThreadManager,
) -> None:
    session, _ = await started(any_manager, [reply(Say("a"))])
    await say(session, "one")
    await session.close()
    opened = await asyncio.gather(
        *(resumed(any_manager, session.id, []) for _ in range(2)), return_exceptions=True
    )
    sessions = [each[0] for each in opened if isinstance(each, tuple)]
    for each in sessions:
        await each.close()
    assert len(sessions) == 1
    assert sum(isinstance(each, Conflict) for each in opened) == 1


async def test_a_session_that_could_not_be_opened_leaves_the_thread_free(
    manager: ThreadManager,
) -> None:
    session, _ = await started(manager, [reply(Say("a"))])
    await say(session, "one")
    await session.close()
    with pytest.raises(InvalidRequest, match="two tools"):
        await resumed(manager, session.id, [], tools=[add, add])
    assert manager.loaded() == ()


# Forks


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
async def test_a_fork_goes_on_from_the_turn_that_is_meant(
    any_manager: ThreadManager, mode: str
) -> None:
    session, first = await started(any_manager, lambda _: reply(Say("a")), history_mode=mode)
    results = [await say(session, text) for text in ("one", "two", "three")]
    for options, left in (
        ({}, ["one", "a", "two", "a", "three", "a"]),
        ({"through_turn": results[1].turn_id}, ["one", "a", "two", "a"]),
        ({"before_turn": results[1].turn_id}, ["one", "a"]),
    ):
        fork = await forked(any_manager, session.id, **options)
        await say(fork, "else")
        model = fork._state.client
        assert isinstance(model, ScriptedModel)
        assert said(model.requests[0]) == [*left, "else"]
        sent = model.requests[0].input[: len(left) + 2]
        assert sent == first.requests[2].input[: len(sent)] or options == {}
        assert model.requests[0].cache_key == fork.id != session.id
        assert await statuses(any_manager, fork.id) == ["completed"] * (len(left) // 2 + 1)
        await fork.close()
    assert len(await statuses(any_manager, session.id)) == 3
    await session.close()


async def test_a_fork_keeps_the_tools_of_its_owner(manager: ThreadManager) -> None:
    dynamic = ({"name": "look", "description": "Look.", "inputSchema": {"type": "object"}},)
    session, first = await started(manager, [reply(Say("a"))], dynamic_tools=dynamic)
    await say(session, "one")
    await session.close()
    again, model = await resumed(manager, session.id, [reply(Say("b"))])
    await say(again, "two")
    assert model.requests[0].tools == first.requests[0].tools
    fork = await forked(manager, session.id)
    assert fork._state.toolbox.specs() == first.requests[0].tools
    for each in (again, fork):
        await each.close()


# Ephemeral


async def test_an_ephemeral_session_leaves_nothing_in_the_store(
    any_manager: ThreadManager,
) -> None:
    session, model = await started(
        any_manager,
        [reply(Call("add", {"a": 1, "b": 2})), reply(Say("3")), reply(Say("s")), reply(Say("x"))],
        tools=[add],
        ephemeral=True,
    )
    await say(session, "one")
    await (await session.compact()).result()
    await say(session, "two")
    await session.revert(turns=1)
    await session.redo()
    assert said(model.requests[1]) == ["one", "3"]
    assert session.usage.own["m1"].total_tokens == 480
    assert (await any_manager.list_threads()).items == ()
    await session.close()
    with pytest.raises(ThreadNotFound):
        await any_manager.store.read_thread(session.id)
    with pytest.raises(ThreadNotFound):
        await resumed(any_manager, session.id, [])


# Input


async def test_parts_of_an_input_reach_the_model_and_the_history(
    manager: ThreadManager, tmp_path: Path
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")
    missing = tmp_path / "b.png"
    session, model = await started(manager, [reply(Say("ok"))])
    parts: list[Any] = [
        "see",
        Text("this"),
        Image("data:image/png;base64,cG5n"),
        LocalImage(str(picture)),
        LocalImage(str(missing)),
    ]
    turn = await session.start_turn(parts, client_id="c1")
    user = next(e.payload() for e in await told(turn) if e.payload()["type"] == "user_message")
    assert (user["message"], user["client_id"]) == ("seethis", "c1")
    assert user["images"] == ["data:image/png;base64,cG5n"]
    assert user["local_images"] == [str(picture), str(missing)]
    content = model.requests[0].input[-1]["content"]
    images = [part["image_url"] for part in content if part["type"] == "input_image"]
    assert images == ["data:image/png;base64,cG5n"] * 2
    assert "could not be read" in content[-1]["text"]
    await session.close()


@pytest.mark.parametrize("given", ["", " \n", [], ["", " "], 5, None, [5], {"type": "text"}])
async def test_an_input_that_says_nothing_is_refused_before_anything_happens(
    manager: ThreadManager, given: Any
) -> None:
    session, _ = await started(manager, [])
    with pytest.raises(InvalidRequest):
        await session.start_turn(given)
    with pytest.raises(InvalidRequest):
        session.enqueue(given)
    assert (session.status, session.queued) == ("idle", ())
    await session.close()


@pytest.mark.parametrize("part", [LocalImage(5), Image(None), Text(None)])  # type: ignore[arg-type]
async def test_a_part_that_is_no_text_is_refused(manager: ThreadManager, part: Any) -> None:
    session, _ = await started(manager, [])
    given: list[Any] = [part]
    with pytest.raises(InvalidRequest, match="no part of an input"):
        await session.start_turn(given)
    assert session.status == "idle"
    await session.close()


async def test_a_file_of_an_odd_name_is_told_about(manager: ThreadManager) -> None:
    session, _ = await started(manager, lambda _: reply(Say("ok")))
    for name in ("\udcff", "\0", "\udcff\0"):
        turn = await session.start_turn(["see", LocalImage(f"/nowhere/{name}.png")])
        assert (await turn.result()).status == "completed"
    await session.close()


@pytest.mark.parametrize("text", ["a\ud800b", "\x00", "\u2028\u2029\ufeff", "𝄞" * 3, "x" * 100_000])
async def test_any_text_comes_through(any_manager: ThreadManager, text: str) -> None:
    session, model = await started(any_manager, [reply(Say("ok"))])
    assert (await say(session, text)).status == "completed"
    (heard,) = said(model.requests[0])
    assert heard == text.replace("\ud800", "?")
    await session.close()
    again, model = await resumed(any_manager, session.id, [reply(Say("ok"))])
    await say(again, "more")
    assert said(model.requests[0]) == [heard, "ok", "more"]
    await again.close()


async def test_a_setting_that_does_not_exist_is_refused(manager: ThreadManager) -> None:
    session, _ = await started(manager, [])
    with pytest.raises(InvalidRequest, match="no such setting"):
        session.configure(colour="red")
    with pytest.raises(InvalidRequest, match="context_window"):
        session.configure(context_window=0)
    await session.close()


# Listening


async def test_all_followers_hear_everything_in_one_order(manager: ThreadManager) -> None:
    session, _ = await started(manager, lambda _: reply(Say("a")))
    following = [session.follow() for _ in range(3)]
    own = []
    for text in ("one", "two"):
        own += await told(await session.start_turn(text))
    await session.close()
    heard = [[event async for event in each] for each in following]
    assert heard == [own] * 3


async def test_whoever_stops_listening_does_not_stop_the_turn(manager: ThreadManager) -> None:
    session, _ = await started(manager, [reply(Say("a"))])
    async for event in session.run("hi"):
        assert event.payload()["type"] == "task_started"
        break
    await session.wait_idle()
    assert await statuses(manager, session.id) == ["completed"]
    await session.close()


async def test_events_are_there_for_whoever_comes_late(manager: ThreadManager) -> None:
    session, _ = await started(manager, [reply(Say("a"))])
    turn = await session.start_turn("hi")
    await turn.result()
    events = await told(turn)
    assert types(events)[0] == "task_started"
    assert isinstance(events[-1], TaskComplete)
    assert await told(turn) == []
    await session.close()


async def test_following_a_closed_session_ends_at_once(manager: ThreadManager) -> None:
    session, _ = await started(manager, [])
    await session.close()
    listening = asyncio.ensure_future(_all(session.follow()))
    for _ in range(10):
        await asyncio.sleep(0)
    ended = listening.done()
    listening.cancel()
    await asyncio.wait((listening,))
    assert ended


# Closing


async def test_closing_interrupts_the_turn_and_drops_the_queue(any_manager: ThreadManager) -> None:
    pause = gate()
    session, model = await started(
        any_manager, [Reply(Say("half", chunk=2), pause, cut_after=1, hang=True)]
    )
    turn = await session.start_turn("hi")
    async for event in turn:
        if event.payload()["type"] == "agent_message_content_delta":
            break
    session.enqueue("never")
    await session.close()
    assert (await turn.result()).status == "interrupted"
    assert (session.status, session.queued) == ("closed", ())
    assert await statuses(any_manager, session.id) == ["interrupted"]
    assert (await outline(any_manager, session.id))[-2:] == ["ri:user", "turn_aborted"]
    assert len(model.requests) == 1
    assert any_manager.loaded() == ()
    await session.close()


async def test_a_closed_session_says_so(manager: ThreadManager) -> None:
    async with (await started(manager, [reply(Say("a"))]))[0] as session:
        await say(session, "hi")
    for call in (
        session.start_turn("hi"),
        session.steer("hi"),
        session.interrupt(),
        session.compact(),
        session.revert(turns=1),
        session.redo(),
    ):
        with pytest.raises(ThreadNotFound, match="is closed"):
            await call
    with pytest.raises(ThreadNotFound, match="is closed"):
        session.enqueue("hi")


async def test_a_session_can_be_closed_while_it_is_being_closed(manager: ThreadManager) -> None:
    pause = gate()
    session, _ = await started(manager, [reply(pause)])
    await session.start_turn("hi")
    await reached(pause)
    await asyncio.gather(session.close(), session.close())
    assert await statuses(manager, session.id) == ["interrupted"]


async def test_sessions_of_many_threads_run_side_by_side(any_manager: ThreadManager) -> None:
    sessions = [(await started(any_manager, [reply(Say(str(n)))]))[0] for n in range(8)]
    results = await asyncio.gather(*(say(each, "hi") for each in sessions))
    assert [result.last_message for result in results] == [str(n) for n in range(8)]
    await asyncio.gather(*(each.close() for each in sessions))
    assert len((await any_manager.list_threads()).items) == 8


async def _all(events: Any) -> list[Any]:
    return [event async for event in events]
