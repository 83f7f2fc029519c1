"""Rollout items: one line of history each, lossless.

A line that Codex ever wrote, known or unknown, is read and can be written back byte for byte: the
bytes themselves travel with the item, and the payload is decoded only when somebody looks.
"""

from __future__ import annotations

import codecs
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from threadstore.errors import CorruptHistory, InvalidRequest

__all__ = [
    "DamagedLine",
    "History",
    "RolloutItem",
    "all_of_kinds",
    "check_items",
    "encode_lines",
    "ordinal_after",
    "typed_payloads",
]


class _Line(msgspec.Struct, gc=False, eq=False):
    """The outer object of a line (Codex 0.34 to 0.169); unknown keys stay in the raw bytes."""

    type: str
    if TYPE_CHECKING:
        payload: Any
    else:
        payload: msgspec.Raw  # until somebody looks, see RolloutItem.payload
    timestamp: str | None = None
    ordinal: int | None = None
    # No key of a line: the odd names keep "raw" and "position" in a line from meaning these.
    raw: bytes | None = msgspec.field(default=None, name=" raw")
    position: int | None = msgspec.field(default=None, name=" position")


class _NewLine(msgspec.Struct, gc=False):
    """The same in the order in which Codex writes the keys."""

    timestamp: str
    ordinal: int | msgspec.UnsetType
    type: str
    payload: Any


class _Kind(msgspec.Struct, gc=False):
    """The one key of a payload that most readers look at; the rest is skipped, not decoded."""

    type: str | None = None


_T = TypeVar("_T")
_Raw: Final = msgspec.Raw
_decode_kind: Final = msgspec.json.Decoder(_Kind).decode
_decode_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines
_stored: Final = _Line.__dict__["payload"].__get__
_store: Final = _Line.__dict__["payload"].__set__
_stored_raw: Final = _Line.__dict__["raw"].__get__
_store_raw: Final = _Line.__dict__["raw"].__set__
_store_position: Final = _Line.__dict__["position"].__set__


class RolloutItem(_Line, gc=False, eq=False):
    """One item of a thread's history. Treat it as immutable.

    ``type`` is the line's type (``session_meta``, ``response_item``, ``event_msg``, …), ``payload``
    the decoded JSON value, ``timestamp`` the text that stands on the line (``None``: the store
    stamps it when it is appended), ``ordinal`` the number of a paginated thread's line,
    ``raw`` the exact bytes without the final newline if the item was read, else ``None``.
    ``position`` is set on items that a store has read: the number of lines of the thread's log up
    to and including this one.
    """

    @classmethod
    def parse(cls, line: bytes) -> RolloutItem:
        """Read one line (with or without its newline).

        Raises :class:`InvalidRequest` if it is not a JSON object that can be an item. Fields of
        a wrong shape are degraded to ``None`` instead of losing the line; bytes that are not UTF-8
        inside strings are kept in ``raw`` and replaced in ``payload``.
        """
        if line.endswith(b"\n"):
            line = line[:-1]
        if b"\n" in line:  # JSON allows it between tokens, a file of lines does not
            raise InvalidRequest("an item is one line; this is more than one")
        try:
            item = _decode(line)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return cls._parse_leniently(line)
        item.raw = line
        return item

    @staticmethod
    def parse_lines(
        lines: Sequence[bytes], places: Sequence[int]
    ) -> tuple[list[RolloutItem], list[int]]:
        """The items of many lines at once, a few times faster than one by one.

        *places* are their positions. Lines that need a closer look are left out, and their indexes
        returned: :meth:`parse` says what they are.
        """
        odd: list[int] = []
        try:
            items = list(map(_decode, lines))
        except (msgspec.MsgspecError, RecursionError, ValueError):
            items, odd = _decode_each(lines)
        good = [line for index, line in enumerate(lines) if index not in odd] if odd else lines
        kept = [place for index, place in enumerate(places) if index not in odd] if odd else places
        # Loops in C: this runs for every line of every history.
        deque(map(_store_raw, items, good), maxlen=0)
        deque(map(_store_position, items, kept), maxlen=0)
        return items, odd

    @classmethod
    def _parse_leniently(cls, line: bytes) -> RolloutItem:
        value = _decode_lossy(line)
        if not isinstance(value, dict):
            raise InvalidRequest("not a JSON object")
        timestamp, ordinal = value.get("timestamp"), value.get("ordinal")
        kind, payload = _classify(value)
        return cls(
            kind,
            payload,
            timestamp if isinstance(timestamp, str) else None,
            ordinal if isinstance(ordinal, int) and not isinstance(ordinal, bool) else None,
            line,
        )

    if not TYPE_CHECKING:

        @property
        def payload(self) -> Any:
            """The decoded payload; do not modify it."""
            payload = _stored(self)
            if type(payload) is _Raw:
                payload = _decode_payload(payload)
                _store(self, payload)
            return payload

        @property
        def raw(self) -> bytes | None:
            """The exact bytes without the final newline if the item was read."""
            raw: bytes | None = _stored_raw(self)
            return raw[:-1] if raw is not None and raw.endswith(b"\n") else raw

        @raw.setter
        def raw(self, raw: bytes | None) -> None:
            _store_raw(self, raw)

    @property
    def size(self) -> int:
        """Bytes of the line that it was read from; 0 if it was not."""
        return len(_stored_raw(self) or b"")

    @property
    def kind(self) -> str | None:
        """``payload["type"]`` where there is one: the kind of an event or response item.

        Does not decode the payload.
        """
        payload = _stored(self)
        if type(payload) is _Raw:
            try:
                return _decode_kind(payload).type
            except (msgspec.MsgspecError, RecursionError, ValueError):
                payload = self.payload  # no object, or not quite JSON: this way is lenient
        kind = payload.get("type") if type(payload) is dict else None
        return kind if type(kind) is str else None

    def line(self) -> bytes:
        """The line without its newline: the bytes it was read from, else Codex's compact form."""
        if self.raw is not None:
            return self.raw
        return self.encode(self.timestamp or "", self.ordinal)

    def encode(self, timestamp: str, ordinal: int | None = None) -> bytes:
        """A fresh line with this timestamp and ordinal; :class:`InvalidRequest` if not JSON.

        Keys beside the payload that an item was read with (``metadata`` of Codex 0.155) stay.
        """
        if self.raw is not None and ordinal is not None:
            return _renumber(self.raw, timestamp, ordinal)
        if type(self.type) is not str:
            raise InvalidRequest("the type of an item must be a string")
        number = msgspec.UNSET if ordinal is None else ordinal
        try:
            return _encode(_NewLine(timestamp, number, self.type, _stored(self)))
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise InvalidRequest(
                f"the payload of this {self.type} item is not JSON: {error}"
            ) from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RolloutItem):
            return NotImplemented
        if self.raw is not None and self.raw == other.raw:
            return True
        return (self.type, self.timestamp, self.ordinal) == (
            other.type,
            other.timestamp,
            other.ordinal,
        ) and bool(self.payload == other.payload)

    def __hash__(self) -> int:
        return hash((self.type, self.timestamp, self.ordinal))

    def __repr__(self) -> str:
        kind = self.kind
        label = f"{self.type}/{kind}" if kind else self.type
        return f"<RolloutItem {label} {self.timestamp or 'unstamped'}>"


_decode: Final = msgspec.json.Decoder(RolloutItem).decode
_FIELD_TYPES: Final[dict[str, tuple[Callable[[Any], Any], tuple[type, ...]]]] = {
    "type": (attrgetter("type"), (str,)),
    "timestamp": (attrgetter("timestamp"), (str, type(None))),
    "ordinal": (attrgetter("ordinal"), (int, type(None))),
    "raw": (_stored_raw, (bytes, type(None))),
}


def all_of_kinds(items: Sequence[RolloutItem], kind_type: str, kinds: frozenset[str]) -> bool:
    """Whether all *items* surely are of this type and of one of these kinds.

    ``False`` also for items that were read and not decoded yet: ask them one by one. Much faster
    than that for what a program appends.
    """
    if {item.type for item in items} != {kind_type}:
        return False
    try:
        return kinds.issuperset([payload.get("type") for payload in map(_stored, items)])
    except (AttributeError, TypeError):  # no object, or a kind that is no text
        return False


def typed_payloads(
    items: Sequence[RolloutItem], kind_type: str, decode: Callable[[msgspec.Raw], _T]
) -> list[_T | None]:
    """The payloads of *items* as *decode* reads them. ``None`` where it does not, where the item is
    of another type, and where somebody has looked at the payload already."""
    payloads = list(map(_stored, items))
    if {item.type for item in items} == {kind_type} and set(map(type, payloads)) == {_Raw}:
        with contextlib.suppress(msgspec.MsgspecError, RecursionError, ValueError):
            return list(map(decode, payloads))  # a loop in C: this is what most items are
    typed: list[_T | None] = []
    for item, payload in zip(items, payloads, strict=True):
        value = None
        if item.type == kind_type and type(payload) is _Raw:
            with contextlib.suppress(msgspec.MsgspecError, RecursionError, ValueError):
                value = decode(payload)
        typed.append(value)
    return typed


def check_items(items: object) -> None:
    """Refuse what is no sequence of items with fields of the right types; payloads are not looked
    at. Too slow for every append: for the cases where something is known to be wrong, and for
    stores that need not be fast."""
    if not isinstance(items, Sequence) or isinstance(items, (str, bytes)):
        raise InvalidRequest(
            f"items must be a sequence of RolloutItem, not {type(items).__name__}",
            hint="pass a list",
        )
    for number, item in enumerate(items):
        if not isinstance(item, RolloutItem):
            raise InvalidRequest(
                f"items[{number}] must be a RolloutItem, not {type(item).__name__}",
                hint="RolloutItem.parse reads a line of JSON",
            )
        for field, (get, types) in _FIELD_TYPES.items():
            if type(get(item)) not in types:
                expected = " or ".join(wanted.__name__ for wanted in types)
                raise InvalidRequest(f"items[{number}].{field} must be {expected}")


def encode_lines(
    items: Sequence[RolloutItem], stamp: str, first_ordinal: int | None = None
) -> bytes:
    """The lines of *items*, each with its newline, in one go.

    Items that were read keep their bytes, others without a timestamp get *stamp*. With
    *first_ordinal* (a paginated thread) the lines are numbered from there. Raises
    :class:`InvalidRequest` if one of them is no line of JSON. A float that JSON does not know
    (NaN, infinity) becomes ``null``: looking for one would cost as much as writing the lines.
    """
    first: int | msgspec.UnsetType = msgspec.UNSET if first_ordinal is None else first_ordinal
    if type(items) is not list and type(items) is not tuple:
        check_items(items)
    lines: list[_NewLine | msgspec.Raw]
    try:
        sorts = {(item.type, item.timestamp) for item in items}  # mostly just one
        for kind, timestamp in sorts:
            if type(kind) is not str or not (timestamp is None or type(timestamp) is str):
                check_items(items)
        if first is msgspec.UNSET and len(sorts) == 1 and not any(map(_stored_raw, items)):
            lines = [
                _NewLine(timestamp or stamp, first, kind, payload)
                for payload in map(_stored, items)
            ]
        else:
            lines = [_any_line(item, stamp, first, index) for index, item in enumerate(items)]
        return _encode_lines(lines)
    except InvalidRequest:
        raise
    except (AttributeError, TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        check_items(items)  # says which one, where the item itself is wrong
        raise InvalidRequest(f"one of the items is not JSON: {error}") from error


def ordinal_after(lines: Sequence[bytes]) -> int | None:
    """The ordinal that follows the last one in *lines* that can be read; ``None`` without one."""
    for line in reversed(lines):
        try:
            item = RolloutItem.parse(line)
        except InvalidRequest:
            continue
        if item.ordinal is not None:
            return item.ordinal + 1
    return None


def _any_line(
    item: RolloutItem, stamp: str, first: int | msgspec.UnsetType, index: int
) -> _NewLine | msgspec.Raw:
    number = first if first is msgspec.UNSET else first + index
    if item.raw is None:
        return _NewLine(item.timestamp or stamp, number, item.type, _stored(item))
    return msgspec.Raw(_one_line(item, stamp, number))


def _decode_each(lines: Sequence[bytes]) -> tuple[list[RolloutItem], list[int]]:
    items: list[RolloutItem] = []
    odd: list[int] = []
    for index, line in enumerate(lines):
        try:
            items.append(_decode(line))
        except (msgspec.MsgspecError, RecursionError, ValueError):
            odd.append(index)
    return items, odd


def _one_line(item: RolloutItem, stamp: str, number: int | msgspec.UnsetType) -> bytes:
    assert item.raw is not None
    if b"\n" in item.raw:
        raise InvalidRequest("an item is one line; this is more than one")
    if number is msgspec.UNSET or item.ordinal == number:
        return item.raw
    return item.encode(item.timestamp or stamp, number)


def _renumber(raw: bytes, timestamp: str, ordinal: int) -> bytes:
    """The same line with another ordinal; every other value keeps its bytes."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise InvalidRequest(f"the line is not JSON: {error}") from error
    if "payload" not in fields:
        item = RolloutItem.parse(raw)
        return RolloutItem(item.type, item.payload).encode(timestamp, ordinal)
    fields.pop("ordinal", None)
    fields.setdefault("timestamp", msgspec.Raw(_encode(timestamp)))
    head = {"timestamp": fields.pop("timestamp"), "ordinal": msgspec.Raw(b"%d" % ordinal)}
    return _encode(head | fields)


def _decode_payload(raw: msgspec.Raw) -> Any:
    try:
        return _decode_any(raw)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return _decode_lossy(bytes(raw), strict=False)


def _decode_lossy(data: bytes, *, strict: bool = True) -> Any:
    """Decode JSON with what is no Unicode (bytes, lone surrogates) replaced, and without a BOM.

    ``None`` instead of an error if not *strict*.
    """
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    try:
        return _decode_any(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        pass
    import json

    try:  # the standard module reads lone surrogates, which encode() then replaces
        return _decode_any(
            json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "replace")
        )
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        if strict:
            raise InvalidRequest(f"not JSON: {error}") from error
        return None


def _classify(value: dict[str, Any]) -> tuple[str, Any]:
    """Type and payload of an object; the bare lines of Codex 0.29 and before get today's types."""
    kind = value.get("type")
    if "payload" in value:
        if not isinstance(kind, str):
            raise InvalidRequest("the line has no type")
        return kind, value["payload"]
    if isinstance(kind, str):
        return "response_item", value
    if isinstance(value.get("record_type"), str):
        return "record_state", value
    if isinstance(value.get("id"), str) and "timestamp" in value:
        return "session_meta", value
    raise InvalidRequest("the line has neither a payload nor a known old form")


class DamagedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is no item. It costs itself and nothing else."""

    position: int
    """Number of lines of the thread's log up to and including this one."""

    raw: bytes
    """The bytes of the line, at most the first 64 KiB."""

    reason: str
    """Why it is no item, for people."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A whole history in replay order."""

    @classmethod
    def of(cls, thread_id: str, entries: Sequence[RolloutItem | DamagedLine]) -> History:
        """The history that *entries* are; :class:`CorruptHistory` if all of them are damage."""
        damage = tuple([entry for entry in entries if type(entry) is DamagedLine])
        items = tuple([entry for entry in entries if type(entry) is RolloutItem])
        if damage and not items:
            raise CorruptHistory(
                f"no line of thread {thread_id} can be read ({len(damage)} damaged)",
                hint="run `threadstore doctor` for details",
            )
        position = entries[-1].position if entries else 0
        return cls(items=items, damage=damage, position=position or 0)

    items: tuple[RolloutItem, ...]
    damage: tuple[DamagedLine, ...]
    position: int
    """Number of lines of the thread's log, damaged and metadata lines included."""
