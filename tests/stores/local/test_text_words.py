"""FTS5 makes of a text that is given as a whole the tokens that every store makes of it."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from threadstore.search.tokens import MAX_WORD, composed, words
from threadstore.stores.local.text_words import indexable

_PARTS = st.sampled_from(
    [
        *(
            "foo",
            "Bar9",
            "_",
            "snake_case",
            " ",
            "\n",
            "\0",
            "-",
            "…",
            "“q”",
            "é",
            "STRASSE",
            "ß",
            "İ",
        ),
        *(
            "黒猫は",
            "走る",
            "ไทย",
            "한국",
            "ｶﾅ",
            "𠮷",
            "नमस्ते",
            "שָׁלוֹם",
            "e\u0301",
            "ﬀ",
            "²",
            "Ⅷ",
            "’",
            "·",
        ),
        *("x" * MAX_WORD, "y" * (MAX_WORD + 1), "ü" * (MAX_WORD + 1), "ü" * 40, "a1" * 40),
        *("\ud800", "\u200b", "\u00a0", "🙂", "😀️", "Ａ", "ꙁ", "\U0001d518"),
    ]
)


def _tokens(text: str) -> list[str]:
    with apsw.Connection(":memory:") as connection:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5 (x, content='', tokenize='ascii')")
        connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab ('t', 'instance')")
        connection.execute("INSERT INTO t (rowid, x) VALUES (1, ?)", (text,))
        found = connection.execute('SELECT term FROM v ORDER BY "offset"').fetchall()
    connection.close()
    return [str(term) for (term,) in found]


@given(st.one_of(st.text(max_size=60), st.lists(_PARTS, max_size=12).map("".join)))
@example("a\0b")
@example("Ab" * 40)
@example("x" * 70 + " " + "Ü" * 70)
def test_the_tokens_of_fts5_are_the_words(text: str) -> None:
    text = composed(text)

    assert _tokens(indexable(text).encode(errors="replace").decode()) == words(text)


@pytest.mark.parametrize("text", ["Plain Words only, 12", ""])
def test_plain_text_is_taken_as_it_is(text: str) -> None:
    assert indexable(text) is text
