"""Texts, and what finds them: the rules of :mod:`threadstore.search.wanted` in examples."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

__all__ = ["SAMPLES", "Sample"]


class Sample(NamedTuple):
    """A text, and what finds it and does not."""

    name: str
    text: str
    finds: tuple[str, ...] = ()
    misses: tuple[str, ...] = ()
    finds_literally: tuple[str, ...] = ()
    misses_literally: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


_FOX = "The quick brown fox jumps over the lazy dog"
_CODE = "call foo.bar(baz) in src/lib_a.py now"
SAMPLES = (
    Sample(
        "words",
        _FOX,
        ("quick", "QUICK", "dog quick", "  fox \t fox\n", "the over", f"{_FOX}"),
        ("quic", "uick", "quick cat", "quickbrown", "cat"),
    ),
    Sample(
        "phrases",
        _FOX,
        ('"quick brown"', '"brown fox" "lazy dog"', '"Quick Brown" dog', f'"{_FOX}"', '""fox'),
        ('"quick fox"', '"brown quick"', '"dog the"', '"lazy dog" "quick fox"', '"fox jump"'),
    ),
    Sample(
        "beginnings",
        _FOX,
        ("qui*", "quick*", '"quick bro"*', "qui* laz*", "q*", "QUI*"),
        ("uick*", "quicks*", '"quick fo"*', '"uick bro"*', "qui* cat*"),
    ),
    Sample(
        "dotted words",
        _CODE,
        ("foo.bar", "foo.bar(baz)", "src/lib_a.py", "lib a", '"lib a py"', "foo.ba*", "foo-bar"),
        ("bar.foo", "foo.baz", "foo.ba", "foobar", "call.bar"),
        ("foo.bar(", "FOO.BAR(BAZ) in", "foo.ba", "(baz)", ".bar", "src/lib_a", "baz) i", " now"),
        ("foo bar", "oo.bar", "foo_bar", "all", "foo.bar (", "baz in", "now ", "(az", "*bar*"),
    ),
    Sample(
        "punctuation",
        'He said "hi *there*" and 50% (of it) was C:\\tmp; ok?',
        ("hi there", '"hi there and 50"', "C:\\tmp", "50%", "(of", "ok?"),
        ('"of was"', "5"),
        ('"hi *', '*there*"', "50%", "C:\\t", "(of it)", "ok?", "there*"),
        ("hi there", "0%", "hi *here", "50 %"),
    ),
    Sample(
        "white space",
        "one\ntwo  three\tfour",
        ('"one two three four"', "four one"),
        ("onetwo",),
        ("one\ntwo", "two  three", "three\tfour", "\ntwo"),
        ("one two", "two three"),
    ),
    Sample(
        "numbers",
        "error 404 at 3.14 in v2beta",
        ("404", "3.14", "v2beta", "v2*", "3", '"404 at 3"'),
        ("40", "beta", "v2", "4040"),
        ("v2", "3.1", "404"),
        ("04", "beta"),
    ),
    Sample(
        "underscores and capitals",
        "my_var_name camelCase __init__",
        ("my_var_name", "var", '"my var"', "camelcase", "__init__", "init"),
        ("myvar", "camel", "case"),
        ("my_v", "CAMELCASE", "__init", "_name", "var_name"),
        ("y_var", "case"),
    ),
    Sample(
        "Japanese",
        "昨日、黒猫は庭で寝た",
        (
            "黒猫",
            "黒",
            "猫",
            "猫は",
            "は",
            "た",
            "庭で寝た",
            "昨日",
            "日",
            "黒猫は庭",
            "寝 昨",
            "黒猫は庭で寝た",
            "黒猫 庭",
            '"黒猫は庭"',
            "昨日、黒猫",
            "黒*",
            "黒猫*",
            "寝た*",
        ),
        ("白猫", "猫黒", "日黒", "昨日黒", "黒猫白", "犬", "黒猫が"),
        ("黒猫は", "日、黒", "猫", "た", "昨日、", "、黒"),
        ("日 黒", "猫黒", "た。"),
    ),
    Sample(
        "Japanese among Latin letters",
        "Python3で書いたtest関数です",
        (
            "python3",
            "python3で",
            "で書",
            "書いたtest",
            "test",
            "test関数",
            "test関",
            "関数",
            "pyth*",
            "関",
            "いたtest関数で",
        ),
        ("python", "tes", "数test", "3で"),
        ("たtest関", "python3で", "py", "te", "関数で"),
        ("3で", "est関", "ython"),
    ),
    Sample(
        "Chinese",
        "修复解析器的错误。𠀀𠀁",
        ("解析", "解析器", "错误", "修", "误", "的错", "𠀀", "𠀁", "𠀀𠀁", "修复 错误"),
        ("析解", "复解错", "错误𠀀", "解器"),
        ("错误。", "。𠀀", "析器"),
        ("错误𠀀",),
    ),
    Sample(
        "Korean",
        "한국어 검색을 시험한다",
        (
            "한국어",
            "한국",
            "국어",
            "검색",
            "검색을",
            "시험",
            "어",
            '"한국어 검색"',
            unicodedata.normalize("NFD", "검색을"),
        ),
        ("어검", "한어", "검색은", '"시험 검색"'),
        ("어 검", "검색을 시"),
        ("어검",),
    ),
    Sample("Thai", "ภาษาไทยไม่มีช่องว่าง", ("ไทย", "ภาษา", "มีช่อง", "ว่าง", "ภ"), ("ไทยภาษา", "ยไทย")),
    Sample(
        "Hindi and Arabic",
        "हिन्दी भाषा والعَرَبِيّة",
        ("हिन्दी", "भाषा", "हिन*", "وال*"),
        ("हिन", "न्दी"),
    ),
    Sample("a text of one character", "猫", ("猫", "猫*"), ("猫は", "犬"), ("猫",), ("猫 ",)),
    Sample(
        "accents",
        "Cafe\u0301 nai\u0308ve Ångström",
        ("café", "CAFÉ", "cafe\u0301", "naïve", "NAI\u0308VE", "caf*", "\u212bngstro\u0308m"),
        ("cafe", "angstrom", "naive"),
        ("caf", "CAFE\u0301 NA", "ångstr"),
        ("afé", "cafe"),
    ),
    Sample(
        "letter case that changes lengths",
        "Die Straße in İstanbul, ﬁne ΣΊΣΥΦΟΣ",
        (
            "STRASSE",
            "strasse",
            "straße",
            "stras*",
            "i̇stanbul",
            "İSTANBUL",
            "σίσυφος",
            "σίσυφοσ",
            "FINE",
            "fi*",
        ),
        ("istanbul", "strase", "ne"),
        ("STRASS", "straß", "straße in i\u0307st", "ΣΊΣΥΦΟ", "f"),
        ("traße", "asse"),
    ),
    Sample(
        "long words",
        f"{'x' * 100} {'y' * 64}z",
        ("x" * 100, "x" * 64, "x*", f"{'x' * 80}*", "y" * 64, "y" * 65),
        ("x" * 63, "y" * 63),
        ("x" * 100, "x" * 70, "y" * 64),
        ("x" * 101, f"{'x' * 64}q", f"{'y' * 64}q"),
    ),
    Sample(
        "control characters",
        "nul\x00inside\x1b[31mred\x7f \u200bzero\u200dwidth\ufeff",
        ("nul inside", '"nul inside"', "31mred", "zero"),
        ("nulinside", "red"),
        ("nul\x00ins", "\x1b[31m"),
        ("nul inside",),
    ),
    Sample(
        "emoji",
        "fix 🧵 in a—b 👩‍💻 done",
        ("fix in", "a—b", '"fix in"', '"b done"'),
        ("ab",),
        ("fix 🧵 in", "🧵 i", "👩‍💻 d"),
        ("fix 👩",),
    ),
    Sample(
        "what databases take for their own",
        "a AND b OR NOT c NEAR d:e & f | !g <-> h 'i' \\ % _j",
        (
            "and",
            "or",
            "not",
            "near(d)",
            "d:e",
            "f | g",
            "!g",
            "a & f",
            "'i'",
            "<->h",
            "NEAR",
            "-h",
            "^a",
            "{d}",
        ),
        ("zebra OR b", "NOT zebra", "a | zebra", "z:e"),
        ("a AND b", "& f |", "'i' \\ % _"),
        ("a OR b", "%c", "_h"),
    ),
)
