"""Stored lines as items, damage, or nothing."""

from __future__ import annotations

import pytest

from threadstore.history import lines
from threadstore.history.items import DamagedLine, RolloutItem

LINE = b'{"timestamp":"2026-11-22T05:42:54.452Z","type":"event_msg","payload":{"type":"x"}}'


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        LINE + b"\r",
        b"  " + LINE + b" \t",
        b"\xef\xbb\xbf" + LINE,
        LINE.replace(b"x", b"\xff"),
    ],
)
def test_an_odd_line_is_an_item_with_its_exact_bytes(line: bytes) -> None:
    item = lines.parse_line(line, 7)
    assert isinstance(item, RolloutItem)
    assert (item.type, item.position, item.raw) == ("event_msg", 7, line)


@pytest.mark.parametrize("line", [b"", b" ", b"\t\r"])
def test_a_blank_line_is_nothing(line: bytes) -> None:
    assert lines.parse_line(line, 1) is None


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"[1]",
        b"\0\0\0\0",
        b"{",
        LINE + LINE,
        b"\xef\xbb\xbf",
        b'"' + b"x" * 100_000,
        b"[" * 99_999,
    ],
    ids=str,
)
def test_a_line_that_is_no_item_is_reported(line: bytes) -> None:
    damaged = lines.parse_line(line, 3)
    assert isinstance(damaged, DamagedLine)
    assert damaged.position == 3
    assert damaged.raw == line[:65536]
    assert damaged.reason


def test_a_torn_last_line_is_called_torn() -> None:
    damaged = lines.parse_line(LINE[:-1], 3, terminated=False)
    assert isinstance(damaged, DamagedLine)
    assert "torn" in damaged.reason


@pytest.mark.parametrize("step", [1, -1])
def test_many_lines_are_the_same_entries_as_one_by_one(step: int) -> None:
    many = [LINE, b"", b"garbage", b"\xef\xbb\xbf" + LINE, LINE]
    one_by_one = [lines.parse_line(line, 10 + index * step) for index, line in enumerate(many)]
    assert lines.parse_lines(many, 10, step) == [entry for entry in one_by_one if entry]
