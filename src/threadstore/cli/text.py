"""Text for people: safe on a terminal, cut to size, times and sizes in words."""

from __future__ import annotations

import datetime as dt
import os
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from threadstore.clock import UTC

__all__ = [
    "ELLIPSIS",
    "ago",
    "clean",
    "cut",
    "one_line",
    "pad",
    "plural",
    "short_path",
    "timestamp",
    "width",
    "wrap",
]

# Whatever drives a terminal: C0 without tab and newline, DEL, C1, and overrides of direction.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SPACES: Final = re.compile(r"\s+")
ELLIPSIS: Final = "…"
_JOINER: Final = "\u200d"
_EMOJI_STYLE: Final = "\ufe0f"
_SKIN_TONES: Final = ("\U0001f3fb", "\U0001f3ff")


def clean(text: str) -> str:
    """*text* without what would drive a terminal; lines and tabs stay."""
    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode()
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """*text* on one line, every run of white space one blank."""
    return clean(_SPACES.sub(" ", text)).strip()


def width(text: str) -> int:
    """Columns that *text* takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(columns for _, columns in _columns(text))


def _columns(text: str) -> Iterator[tuple[str, int]]:
    """Every character with the columns that it adds; an emoji sequence counts as one emoji."""
    before, columns = "", 0
    for char in text:
        if char == _EMOJI_STYLE:  # shows the character before as an emoji
            columns = 1 if columns == 1 else 0
        elif _joins(before, char, columns):
            columns = 0
        else:
            columns = 2 if unicodedata.east_asian_width(char) in "WF" else 1
        yield char, columns
        before = char


def _joins(before: str, char: str, columns: int) -> bool:
    """Whether *char* stands in the columns of the character before."""
    if before == _JOINER or unicodedata.category(char) in ("Cf", "Mn", "Me"):
        return True
    return columns == 2 and _SKIN_TONES[0] <= char <= _SKIN_TONES[1]


def cut(text: str, columns: int) -> str:
    """*text* shortened to at most *columns* columns."""
    if width(text) <= columns:
        return text
    if text.isascii():
        return text[: columns - 1].rstrip() + ELLIPSIS
    kept, used = [], 1  # one column for the ellipsis
    for char, wide in _columns(text):
        used += wide
        if used > columns:
            break
        kept.append(char)
    return "".join(kept).rstrip() + ELLIPSIS


def wrap(line: str, columns: int) -> list[str]:
    """*line* in rows of at most *columns* columns, broken at blanks where there are any."""
    rows = []
    while len(row := _beginning(line, columns)) < len(line):
        if line[len(row)] != " " and " " in row.strip():
            row = row[: row.rindex(" ")]
        rows.append(row.rstrip())
        line = line[len(row) :].lstrip(" ")
    return [*rows, line]


def _beginning(text: str, columns: int) -> str:
    """As much of *text* as fits, at least one character."""
    used = 0
    for index, (_, wide) in enumerate(_columns(text)):
        used += wide
        if used > columns and index:
            return text[:index]
    return text


def pad(text: str, columns: int) -> str:
    """*text* filled with blanks to *columns* columns."""
    return text + " " * (columns - width(text))


def plural(count: int, noun: str) -> str:
    """``1 thread``, ``3 threads``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def timestamp(moment: dt.datetime) -> str:
    """``2026-11-22T05:42:54Z``: for programs."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(moment: dt.datetime, now: dt.datetime) -> str:
    """``5 min ago``; beyond a month the day, in local time."""
    seconds = (now - moment).total_seconds()
    if seconds < 0 or seconds >= 30 * 86_400:
        return moment.astimezone().strftime("%Y-%m-%d")
    if seconds < 60:
        return "just now"
    for unit, size in (("min", 60), ("h", 3600)):
        if seconds < size * (60 if unit == "min" else 24):
            return f"{int(seconds // size)} {unit} ago"
    return f"{plural(int(seconds // 86_400), 'day')} ago"


def short_path(path: str) -> str:
    """*path* with ``~`` for the user's home folder."""
    home = os.path.expanduser("~")
    if home not in ("~", "/") and (path == home or path.startswith(home + "/")):
        return "~" + path[len(home) :]
    return path
