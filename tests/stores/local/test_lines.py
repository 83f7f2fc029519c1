"""Splitting files into lines, forwards and backwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.stores.local import lines
from threadstore.stores.local.lines import Log

contents = st.lists(
    st.one_of(st.just(b"\n"), st.just(b"ab"), st.binary(max_size=6)), max_size=40
).map(b"".join)


@contextmanager
def opened(content: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("content")
    try:
        os.write(descriptor, content)
        yield descriptor
    finally:
        os.close(descriptor)


def expected(content: bytes) -> list[bytes]:
    """The lines of *content*; an unterminated last one counts."""
    parts = content.split(b"\n")
    return parts if parts[-1] else parts[:-1]


@given(content=contents, size=st.integers(1, 9))
def test_lines_do_not_depend_on_the_pieces_they_are_read_in(content: bytes, size: int) -> None:
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    split = list(lines.split_lines(pieces))
    assert [line for part, _ in split for line in part] == expected(content)
    assert all(terminated for _, terminated in split[:-1])
    if split:
        assert split[-1][1] is content.endswith(b"\n")


@given(content=contents, chunk=st.integers(1, 9))
def test_backwards_is_the_reverse_of_forwards(content: bytes, chunk: int) -> None:
    with opened(content) as descriptor:
        split = list(lines.split_backwards(descriptor, len(content), chunk))
    assert [line for part, _ in split for line in part] == expected(content)[::-1]
    if split:
        assert split[0][1] is content.endswith(b"\n")


@pytest.mark.parametrize("delta", [-1, 0, 1])
@pytest.mark.parametrize("unit", [1 << 14, lines.CHUNK])
def test_records_as_long_as_a_read_come_whole_both_ways(
    tmp_path: Path, unit: int, delta: int
) -> None:
    path = tmp_path / "rollout-x.jsonl"
    content = b"".join(letter * (unit + delta) + b"\n" for letter in (b"a", b"b", b"c"))
    path.write_bytes(content)
    with Log.open(str(path)) as log:
        forwards = [line for part, _ in lines.split_lines(log.chunks()) for line in part]
        backwards = [line for part, _ in lines.split_backwards(*log.plain()) for line in part]
    assert forwards == expected(content)
    assert backwards == forwards[::-1]


@given(content=contents, count=st.integers(0, 50))
def test_an_offset_after_some_lines_cuts_there(content: bytes, count: int) -> None:
    wanted = expected(content)[:count]
    with opened(content) as descriptor:
        offset, seen = lines.offset_after(descriptor, len(content), count)
        assert lines.count_newlines(descriptor, len(content)) == content.count(b"\n")
    assert seen == len(wanted)
    assert expected(content[:offset]) == wanted
