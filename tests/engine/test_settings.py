"""Settings are checked when they are made, not when a turn fails of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.engine.helpers import started

from threadstore.engine import SessionSettings
from threadstore.errors import InvalidRequest
from threadstore.manager import ThreadManager

WRONG: list[tuple[str, Any]] = [
    ("model", ""),
    ("model", " \n"),
    ("model", 5),
    ("model", "half \ud800"),
    ("reasoning_effort", 3),
    ("reasoning_summary", True),
    ("instructions", b"bytes"),
    ("developer_instructions", ["Be brief."]),
    ("cwd", Path("a")),
    ("cwd", "\udcff"),
    ("environment", "no"),
    ("context_window", "big"),
    ("context_window", 1000.5),
    ("context_window", True),
    ("context_window", 0),
    ("context_window", 10**400),
    ("compact_at", -1),
    ("compact_at", "never"),
    ("tool_output_limit", None),
    ("tool_output_limit", 255),
    ("parallel_tool_calls", 1),
    ("output_schema", "object"),
    ("output_schema", {1: 2}),
    ("output_schema", {"type": object}),
    ("max_retries", 1.5),
    ("max_retries", -1),
    ("retry_delay", "soon"),
    ("retry_delay", float("nan")),
    ("max_retry_after", None),
    ("max_retry_after", float("nan")),
    ("approval_policy", None),
    ("sandbox_policy", {1}),
    ("sandbox_policy", "read-only"),
    ("sandbox_policy", {"paths": [Path("a")]}),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda value: ascii(value)[:40])
def test_a_setting_of_a_wrong_value_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=field):
        SessionSettings(**{field: value})
    with pytest.raises(InvalidRequest, match=field):
        msgspec.structs.replace(SessionSettings(model="m"), **{field: value})


def test_settings_take_what_their_types_say() -> None:
    settings = SessionSettings(
        model="m",
        retry_delay=1,
        max_retry_after=float("inf"),
        approval_policy={"granular": {"rules": True}},
        sandbox_policy={"type": "workspace-write", "writable_roots": ["/a"]},
        output_schema={"type": "object", "properties": {"a": {"type": "string"}}},
    )
    assert settings.compaction_limit == 244_800


async def test_a_refused_setting_changes_nothing(manager: ThreadManager) -> None:
    session, _ = await started(manager, [])
    before = session.settings
    with pytest.raises(InvalidRequest, match="cwd"):
        session.configure(model="m2", cwd=Path("a"))
    assert session.settings is before
    await session.close()
