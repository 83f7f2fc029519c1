"""Tools that run only if the user allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.engine.helpers import SETTINGS, reply, started

from threadstore.engine import RequestUserInput, Session, ToolOutput, tool
from threadstore.testing.scripted_model import Call, Say

if TYPE_CHECKING:
    from threadstore.manager import ThreadManager

DECLINED = "error: the user did not allow wipe; it was not run"


class Disk:
    """What a tool does, and whether it did."""

    def __init__(self) -> None:
        self.wiped: list[str] = []

        def wipe(path: str) -> str:
            """Wipe."""
            self.wiped.append(path)
            return "wiped"

        self.tool = tool(approval=True)(wipe)


async def _asked(manager: ThreadManager, disk: Disk, **settings: Any) -> tuple[Session, Any]:
    script = [reply(Call("wipe", {"path": "a"})), reply(Say("done"))]
    chosen = msgspec.structs.replace(SETTINGS, **settings)
    return await started(manager, script, settings=chosen, tools=[disk.tool])


@pytest.mark.parametrize(
    ("answer", "output", "wiped"),
    [
        ({"answers": {"approval": {"answers": ["Allow"]}}}, "wiped", ["a"]),
        ({"answers": {"approval": {"answers": ["Decline"]}}}, DECLINED, []),
        ({"answers": {"approval": {"answers": []}}}, DECLINED, []),
        ({"answers": None}, DECLINED, []),
        ({}, DECLINED, []),
        (ToolOutput(output="nobody is there", success=False), DECLINED, []),
    ],
)
async def test_the_user_decides(
    manager: ThreadManager, answer: Any, output: str, wiped: list[str]
) -> None:
    disk = Disk()
    session, model = await _asked(manager, disk)
    turn = await session.start_turn("go")
    async for event in turn:
        if isinstance(event, RequestUserInput):
            (question,) = event.questions
            assert question["question"] == 'Allow wipe({"path": "a"})?'
            assert [option["label"] for option in question["options"]] == ["Allow", "Decline"]
            session.answer(event.call_id, answer)
    assert (await turn).status == "completed"
    assert model.requests[1].input[-1]["output"] == output
    assert disk.wiped == wiped
    await session.close()


async def test_with_the_policy_never_nobody_is_asked(manager: ThreadManager) -> None:
    disk = Disk()
    session, _ = await _asked(manager, disk, approval_policy="never")
    assert (await (await session.start_turn("go"))).status == "completed"
    assert disk.wiped == ["a"]
    await session.close()


async def test_arguments_that_do_not_fit_are_not_asked_about(manager: ThreadManager) -> None:
    disk = Disk()
    script = [reply(Call("wipe", {"file": 1})), reply(Say("done"))]
    session, model = await started(manager, script, tools=[disk.tool])
    assert (await (await session.start_turn("go"))).status == "completed"
    assert "path" in model.requests[1].input[-1]["output"]
    await session.close()
