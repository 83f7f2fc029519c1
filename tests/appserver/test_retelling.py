"""Logs of real releases, told line by line, end with what reading them shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.golden_homes import LABELS, load

from threadstore.appserver.narration import Narrator
from threadstore.appserver.retelling import Retelling
from threadstore.factory import open_store
from threadstore.history.items import RolloutItem
from threadstore.history.turns import build_turns
from threadstore.protocol.codex_thread import protocol_turn
from threadstore.queries import ThreadQuery

Json = dict[str, Any]

ODD = {"reviewed", "torn_resumed"}
"""Turns within turns, and a turn without a beginning: told as far as a turn is known to run."""
RECENT = [label for label in LABELS if load(label).release >= (0, 130, 0)]


def told(thread_id: str, items: tuple[RolloutItem, ...], start: int) -> dict[str, Json]:
    """The turns that were told after the first *start* lines: their end and items, by id."""
    before = build_turns(items[:start], open_status="in_progress")
    retelling, narrator = Retelling(thread_id, before), Narrator(thread_id)
    turns: dict[str, Json] = {}
    events = [event for item in items[start:] for event in retelling.events(item)]
    for event in [*events, *retelling.cut()]:
        for notice in narrator.tell(event):
            _keep(turns, notice.method, notice.params)
    return turns


def _keep(turns: dict[str, Json], method: str, params: Json) -> None:
    if method == "turn/started":
        turns[params["turn"]["id"]] = {"items": {}, "started": True}
    elif method == "turn/completed":
        turn = turns.setdefault(params["turn"]["id"], {"items": {}})
        turn.update(status=params["turn"]["status"], error=params["turn"]["error"])
    elif method == "item/completed":
        turn = turns.setdefault(params["turnId"], {"items": {}})
        turn["items"][params["item"]["id"]] = _timeless(params["item"])


def _timeless(item: Json) -> Json:
    return {key: value for key, value in item.items() if not key.endswith("AtMs")}


@pytest.mark.parametrize("label", RECENT)
async def test_what_is_told_of_a_log_is_what_reading_it_shows(label: str, tmp_path: Path) -> None:
    golden = load(label)
    compared = 0
    async with open_store(f"local:{golden.unpack(tmp_path)}", use_index_file=False) as store:
        page = await store.list_threads(ThreadQuery(archived=None, limit=1000))
        for thread in page.items:
            items = (await store.load_history(thread.id)).items
            if any(item.kind == "thread_rolled_back" for item in items):
                continue  # whoever follows begins anew then
            regular = golden.example(thread.id) not in ODD
            for start in (0, len(items) // 2):
                turns = told(thread.id, items, start)
                compared += _compare(turns, items, whole=start == 0) if regular else 0
    assert compared > 5


def _compare(turns: dict[str, Json], items: tuple[RolloutItem, ...], *, whole: bool) -> int:
    """How many turns were told as they are shown."""
    compared = 0
    for turn in map(protocol_turn, build_turns(items)):
        known = turns.get(turn["id"])
        if known is None:
            assert not whole
            continue
        compared += 1
        assert (known["status"], known["error"]) == (turn["status"], turn["error"])
        shown = {item["id"]: _timeless(item) for item in turn["items"]}
        assert known["items"].items() <= shown.items()
        assert known["items"] == shown or "started" not in known
    return compared
