"""Every form that a history may have, told as the release tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.codex import forms
from tests.codex.app_server import write_config
from tests.codex.theirs import MISSING, Difference, codex_answers, differences, our_answers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.cells import Cells
    from tests.codex.releases import Release

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

NOWHERE = "http://127.0.0.1:9/v1"
"""No model is asked for anything."""


async def told(home: Path, release: Release, ids: list[str]) -> dict[str, list[Difference]]:
    """Where turns and items differ, by thread; members that the release does not know are out."""
    with release.serve(home, home.parent) as server:
        theirs = codex_answers(server, ids)
    assert set(ids) == theirs.turns.keys()
    assert all(theirs.turns.values())
    found: dict[str, list[Difference]] = {}
    for difference in differences(await our_answers(home, theirs), theirs):
        known = difference.theirs == MISSING and release < (0, 169, 0)
        if not known and difference.where.startswith(("turn", "item")):
            found.setdefault(difference.thread_id, []).append(difference)
    return found


async def test_every_legacy_event(tmp_path: Path, release: Release, cells: Cells) -> None:
    home = tmp_path / "home"
    write_config(home, NOWHERE)
    thread_id = forms.write(home, 1, forms.legacy_history())
    found = (await told(home, release, [thread_id])).get(thread_id, [])
    if release >= (0, 150, 0):
        assert found == []
        cells.works("theirs", "every legacy event")
        return
    members = {difference.where.partition("[].")[2] for difference in found}
    if "items" in members:
        # 0.133 cannot read one message, so that later items and turns have lower numbers.
        assert members == {"items", "id", "items[].id"}
        for difference in found:
            if difference.where.endswith("items"):
                first, *later = [item["type"] for item in difference.ours]
                assert first == "userMessage"
                assert later == [item["type"] for item in difference.theirs]
        how = "it drops a user message with image details and audio, we tell it"
        cells.differs("theirs", "every legacy event", how)
        return
    # It has no audio yet, so that our list of the parts of that message is longer.
    assert members <= {"items[].content", "items[].appContext.templateId"}
    for difference in found:
        if difference.where.endswith("content"):
            kinds = [part["type"] for part in difference.ours]
            assert kinds == [*(part["type"] for part in difference.theirs), "audio", "localAudio"]
        else:
            assert difference.theirs is None
    how = "it does not know audio, we tell it"
    if "items[].appContext.templateId" in members:
        how = (
            "it does not know audio, we tell it; it has a `templateId` of apps (null), we have none"
        )
    cells.differs("theirs", "every legacy event", how)


async def test_events_that_only_old_releases_could_keep(
    tmp_path: Path, release: Release, cells: Cells
) -> None:
    home = tmp_path / "home"
    write_config(home, NOWHERE)
    thread_id = forms.write(home, 1, forms.extended_history())
    found = (await told(home, release, [thread_id]))[thread_id]
    first = found[0]
    assert [item["type"] for item in first.theirs] == ["userMessage"]
    kinds = ["userMessage", "commandExecution", "imageView", "collabAgentToolCall"]
    assert [item["type"] for item in first.ours] == kinds
    wheres = {difference.where.partition("[].")[2] for difference in found}
    assert wheres == {"items", "status", "error"}
    how = "it tells no commands, images viewed and errors of such logs, we do"
    cells.differs("theirs", "extended history of 0.118", how)


async def test_every_item_of_paginated_threads(
    tmp_path: Path, release: Release, cells: Cells
) -> None:
    row = "every item of paginated threads"
    if "paginated" not in release.modes:
        cells.unsupported("theirs", row, "the release has only legacy threads")
        return
    home = tmp_path / "home"
    write_config(home, NOWHERE)
    ids = {}
    for number, item in enumerate(forms.completed_items(), start=0x100):
        lines = forms.paginated_history(forms.made_id(number), number + 0x100, item)
        ids[forms.write(home, number, lines, mode="paginated")] = item
    with release.serve(home, tmp_path) as server:
        for thread_id in ids:
            server.call("thread/resume", threadId=thread_id)  # it tells nothing before
    found = await told(home, release, [*ids])
    if release >= (0, 169, 0):
        assert {str(ids[thread_id]): wrong for thread_id, wrong in found.items()} == {}
        cells.works("theirs", row)
        return
    for wrong in found.values():  # kinds of later releases, which it leaves out
        assert {len(difference.theirs) for difference in wrong} == {1}
        assert {len(difference.ours) for difference in wrong} == {2}
    cells.differs("theirs", row, f"it does not know {len(found)} of {len(ids)}, we tell them")
