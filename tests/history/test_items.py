"""Items: every line that was ever written is read, and written back byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.errors import InvalidRequest
from threadstore.history.items import RolloutItem

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_lines = st.builds(
    lambda kind, payload, extra: {**extra, "type": kind, "payload": payload},
    st.text(),
    _json,
    st.dictionaries(
        st.text().filter(lambda key: key not in {"type", "payload"}), _json, max_size=3
    ),
)
_layouts = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"separators": (" , ", " : ")},
        {"ensure_ascii": False},
        {"sort_keys": True},
    ]
)


@given(_lines, _layouts)
def test_any_line_is_written_back_byte_for_byte(
    value: dict[str, Any], layout: dict[str, Any]
) -> None:
    line = json.dumps(value, **layout).encode("utf-8", "surrogatepass")
    item = RolloutItem.parse(line + b"\n")
    assert item.line() == line
    assert item.raw == line
    assert item.type == value["type"]
    assert item.payload == value["payload"]
    assert item == RolloutItem.parse(line)


@given(st.text(), _json)
def test_an_item_made_here_is_read_back_as_it_was_made(kind: str, payload: Any) -> None:
    item = RolloutItem(kind, payload)
    line = item.encode("2026-11-22T05:42:54.452Z", 7)
    read = RolloutItem.parse(line)
    assert (read.type, read.payload) == (kind, payload)
    assert (read.timestamp, read.ordinal) == ("2026-11-22T05:42:54.452Z", 7)


@given(st.binary(max_size=200))
def test_no_bytes_make_parsing_fail_in_another_way(data: bytes) -> None:
    try:
        item = RolloutItem.parse(data)
    except InvalidRequest:
        return
    assert item.line() == data.removesuffix(b"\n")


@pytest.mark.parametrize(
    ("line", "kind", "payload"),
    [
        (b'{"type":"event_msg","payload":{"type":"x"}}', "x", {"type": "x"}),
        (b' \t{"type":"event_msg","payload":{"type":"x"}} \r\n', "x", {"type": "x"}),
        (b'\xef\xbb\xbf{"type":"event_msg","payload":{"type":"x"}}', "x", {"type": "x"}),
        (b'{"payload":{"type":"x"},"type":"event_msg","z":1}', "x", {"type": "x"}),
        (b'{"type":"a","type":"event_msg","payload":1,"payload":{"type":"x"}}', "x", {"type": "x"}),
        (b'{"type":"event_msg","payload":{"type":"x","type":"y"}}', "y", {"type": "y"}),
        (b'{"type":"event_msg","payload":{"type":5}}', None, {"type": 5}),
        (b'{"type":"event_msg","payload":[1,2]}', None, [1, 2]),
        (b'{"type":"event_msg","payload":null}', None, None),
        (b'{"type":"event_msg","payload":{"type":"a\xff"}}', "a\ufffd", {"type": "a\ufffd"}),
        (b'{"type":"event_msg","payload":{"type":"\\ud800"}}', "?", {"type": "?"}),
        (b'{"type":"event_msg","payload":{"n":1e999}}', None, None),
    ],
)
def test_odd_lines_are_read_and_kept(line: bytes, kind: str | None, payload: Any) -> None:
    item = RolloutItem.parse(line)
    assert item.kind == kind
    if payload is not None:
        assert item.payload == payload
    assert item.kind == kind
    assert item.line() == line.removesuffix(b"\n")


@pytest.mark.parametrize(
    ("line", "timestamp", "ordinal"),
    [
        (b'{"type":"a","payload":1,"timestamp":"whenever","ordinal":3}', "whenever", 3),
        (b'{"type":"a","payload":1,"timestamp":17,"ordinal":"3"}', None, None),
        (b'{"type":"a","payload":1,"timestamp":null,"ordinal":true}', None, None),
        (b'{"type":"a","payload":1}', None, None),
    ],
)
def test_a_field_of_a_wrong_type_costs_itself_and_not_the_line(
    line: bytes, timestamp: str | None, ordinal: int | None
) -> None:
    item = RolloutItem.parse(line)
    assert (item.timestamp, item.ordinal, item.payload) == (timestamp, ordinal, 1)
    assert item.line() == line


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"id":"0b","timestamp":"2025-09-01T00:00:00Z","instructions":null}', "session_meta"),
        (b'{"record_type":"state"}', "record_state"),
        (b'{"type":"message","id":null,"role":"user","content":[]}', "response_item"),
    ],
)
def test_the_bare_lines_of_the_oldest_releases_get_todays_types(line: bytes, kind: str) -> None:
    item = RolloutItem.parse(line)
    assert item.type == kind
    assert item.payload == json.loads(line)
    assert item.line() == line


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"   ",
        b"garbage",
        b"[]",
        b'"text"',
        b"{}",
        b'{"payload":{}}',
        b'{"type":5,"payload":{}}',
        b'{"type":"a","payload":{}',
        b'{"type":"a","payload":{}}{"type":"b","payload":{}}',
        b'{"type":"a","payload":1}\n{"type":"b","payload":2}',
        b'{"type":"a",\n"payload":1}',
        b"[" * 100_000,
        b'{"type":"a","payload":' + b"[" * 100_000,
    ],
)
def test_what_is_no_item_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidRequest):
        RolloutItem.parse(line)


@pytest.mark.parametrize("payload", [object(), {"a": object()}, {"a": [len]}, 1j])
def test_a_payload_that_is_no_json_is_refused_when_it_is_written(payload: Any) -> None:
    with pytest.raises(InvalidRequest):
        RolloutItem("event_msg", payload).line()


def test_a_fresh_line_is_compact_with_the_keys_in_codex_order() -> None:
    item = RolloutItem("event_msg", {"type": "x", "text": "ü\n"}, "2026-11-22T05:42:54.452Z", 5)
    expected = (
        '{"timestamp":"2026-11-22T05:42:54.452Z","ordinal":5,"type":"event_msg",'
        '"payload":{"type":"x","text":"ü\\n"}}'
    )
    assert item.line() == expected.encode()


def test_a_type_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        RolloutItem(5, {}).line()  # type: ignore[arg-type]
