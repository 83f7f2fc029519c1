"""A tool that asks waits for whoever owns the session, and nobody else."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.helpers import add, forked, outline, reply, said, say, started
from tests.engine.moments import check_pairs

from threadstore.engine import (
    AskUser,
    Event,
    RequestUserInput,
    Session,
    ToolCallRequest,
    ToolOutput,
    Turn,
)
from threadstore.errors import InvalidRequest
from threadstore.testing.scripted_model import Call, Say

if TYPE_CHECKING:
    from threadstore.manager import ThreadManager

QUESTION: dict[str, Any] = {
    "id": "color",
    "header": "Color",
    "question": "Which?",
    "options": [{"label": "red", "description": "a color"}],
}
ASK = Call("request_user_input", {"questions": [QUESTION]})
RED = {"answers": {"color": {"answers": ["red"]}}}
DYNAMIC = (
    {"name": "look", "description": "Look.", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "look", "namespace": "far", "description": "Look far.", "inputSchema": {}},
)


async def _asked(turn: Turn, count: int = 1) -> list[RequestUserInput | ToolCallRequest]:
    """The first questions of *turn*."""
    found: list[RequestUserInput | ToolCallRequest] = []
    async for event in turn:
        if isinstance(event, RequestUserInput | ToolCallRequest):
            found.append(event)
        if len(found) == count:
            break
    return found


async def test_the_user_is_asked_and_the_model_gets_the_answer(
    any_manager: ThreadManager,
) -> None:
    session, model = await started(any_manager, [reply(ASK), reply(Say("ok"))], tools=[AskUser()])
    turn = await session.start_turn("hi")
    (question,) = await _asked(turn)
    assert isinstance(question, RequestUserInput)
    assert question.questions == [{**QUESTION, "isOther": True, "isSecret": False}]
    assert list(session.open_requests) == [question]
    assert "function_call_output" not in await outline(any_manager, session.id)
    session.answer(question.call_id, RED)
    assert (await turn.result()).status == "completed"
    assert json.loads(said(model.requests[1])[1]) == RED
    assert not session.open_requests
    await session.close()


async def test_tools_of_the_owner_are_called_by_events(any_manager: ThreadManager) -> None:
    calls = [Call("look", {"at": [1]}), Call("look", {}, namespace="far")]
    session, model = await started(
        any_manager, [reply(*calls), reply(Say("ok"))], tools=[add], dynamic_tools=DYNAMIC
    )
    turn = await session.start_turn("hi")
    near, far = await _asked(turn, 2)
    assert isinstance(near, ToolCallRequest)
    assert isinstance(far, ToolCallRequest)
    assert (near.tool, near.namespace, near.arguments) == ("look", None, {"at": [1]})
    assert (far.tool, far.namespace, far.arguments) == ("look", "far", {})
    session.answer(far.call_id, ToolOutput(output="fog", success=False))
    session.answer(near.call_id, "a cat")
    await turn.result()
    assert said(model.requests[1]) == ["hi", "a cat", "fog"]
    assert [spec["name"] for spec in model.requests[0].tools] == ["add", "look", "far"]
    await session.close()


async def test_questions_can_be_open_side_by_side_and_answered_in_any_order(
    manager: ThreadManager,
) -> None:
    session, model = await started(
        manager,
        [reply(ASK, ASK, Call("look")), reply(Say("ok"))],
        tools=[AskUser()],
        dynamic_tools=DYNAMIC,
    )
    turn = await session.start_turn("hi")
    asked = await _asked(turn, 3)
    assert session.open_requests == tuple(asked)
    for question in reversed(asked):
        name = question.call_id
        session.answer(name, {"is": name} if isinstance(question, RequestUserInput) else name)
    await turn.result()
    ids = [question.call_id for question in asked]
    heard = said(model.requests[1])[1:]
    assert [json.loads(text)["is"] for text in heard[:2]] == ids[:2]
    assert heard[2] == ids[2]
    await session.close()


async def test_a_call_id_that_is_used_twice_is_told_to_the_model(manager: ThreadManager) -> None:
    twice = Call("request_user_input", {"questions": [QUESTION]}, call_id="same")
    session, model = await started(
        manager, [reply(twice, twice), reply(Say("ok"))], tools=[AskUser()]
    )
    asked = 0
    turn = await session.start_turn("hi")
    async for event in turn:
        asked += isinstance(event, RequestUserInput)
        payload = event.payload()
        if payload["type"] == "item_completed" and payload["item"].get("status") == "failed":
            assert "use a new one" in payload["item"]["content_items"][0]["text"]
            session.answer("same", RED)
    assert asked == 1
    assert (await turn.result()).status == "completed"
    check_pairs(model.requests[1].input)
    assert not session.open_requests
    await session.close()


async def test_an_answer_of_the_wrong_kind_leaves_the_question_open(
    manager: ThreadManager,
) -> None:
    session, _ = await started(
        manager,
        [reply(ASK, Call("look")), reply(Say("ok"))],
        tools=[AskUser()],
        dynamic_tools=DYNAMIC,
    )
    turn = await session.start_turn("hi")
    user, client = await _asked(turn, 2)
    for call_id, wrong in ((user.call_id, "red"), (client.call_id, 5), ("nobody", "x")):
        with pytest.raises(InvalidRequest):
            session.answer(call_id, wrong)
    assert len(session.open_requests) == 2
    session.answer(user.call_id, RED)
    with pytest.raises(InvalidRequest, match="nothing waits"):
        session.answer(user.call_id, RED)
    session.answer(client.call_id, "")
    assert (await turn.result()).status == "completed"
    await session.close()


async def test_malformed_questions_and_arguments_go_back_to_the_model(
    manager: ThreadManager,
) -> None:
    calls = [
        Call("request_user_input", "{"),
        Call("request_user_input", {"questions": []}),
        Call("look", "[1]"),
    ]
    session, model = await started(
        manager, [reply(*calls), reply(Say("ok"))], tools=[AskUser()], dynamic_tools=DYNAMIC
    )
    events: list[Event] = [event async for event in await session.start_turn("hi")]
    assert not [e for e in events if isinstance(e, RequestUserInput | ToolCallRequest)]
    assert all("the arguments do not fit" in text for text in said(model.requests[1])[1:])
    assert len(said(model.requests[1])) == 4
    await session.close()


async def test_an_answer_may_be_given_from_within_the_event(manager: ThreadManager) -> None:
    session, _ = await started(manager, [reply(ASK), reply(Say("ok"))], tools=[AskUser()])
    answering = asyncio.create_task(_answers(session))
    await asyncio.sleep(0)
    assert (await say(session, "hi")).last_message == "ok"
    await session.close()
    await answering


async def test_a_fork_does_not_ask_what_its_source_asks(manager: ThreadManager) -> None:
    session, _ = await started(manager, [reply(Say("a")), reply(ASK)], tools=[AskUser()])
    first = await say(session, "one")
    turn = await session.start_turn("two")
    (question,) = await _asked(turn)
    fork = await forked(manager, session.id, through_turn=first.turn_id)
    assert fork.open_requests == ()
    with pytest.raises(InvalidRequest, match="nothing waits"):
        fork.answer(question.call_id, RED)
    await session.interrupt()
    for each in (session, fork):
        await each.close()


async def _answers(session: Session) -> None:
    async for event in session.follow():
        if isinstance(event, RequestUserInput):
            session.answer(event.call_id, RED)
