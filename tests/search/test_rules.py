"""What must hold between texts and queries, whatever they are."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.search.naive import is_found, phrase_in_words
from tests.search.strategies import cuts, queries, searches, texts

from threadstore.errors import InvalidRequest
from threadstore.search.snippets import snippet
from threadstore.search.tokens import MAX_WORD, composed, fold, is_spaceless, tokens, words
from threadstore.search.wanted import MAX_QUERY, Wanted


def _wanted(query: str, *, literal: bool) -> Wanted:
    try:
        return Wanted.parse(query, literal=literal)
    except InvalidRequest as error:
        _advises(error)
        assume(False)
        raise


def _advises(error: InvalidRequest) -> None:
    assert error.hint


@given(queries, st.booleans())
def test_a_query_is_understood_or_refused_with_advice(query: str, literal: bool) -> None:
    wanted = _wanted(query, literal=literal)
    assert wanted.phrases
    for phrase in wanted.phrases:
        assert all(phrase.tokens)
        assert all(len(token) <= MAX_WORD for token in phrase.tokens)


@given(texts | st.text())
def test_words_are_the_tokens(text: str) -> None:
    text = composed(text)
    assert words(text) == [token.text for token in tokens(fold(text).text)]
    for token in tokens(fold(text).text):
        assert fold(text).text.startswith(token.text, token.start)
        assert token.start < token.end <= len(fold(text).text)


@given(texts | st.text())
def test_folding_knows_where_each_character_comes_from(text: str) -> None:
    folded = fold(text)
    for place in range(len(folded.text)):
        assert folded.text[place] in text[folded.origin(place)].casefold()
    assert folded.origin(len(folded.text)) == len(text)


@given(searches(), st.booleans())
@example(("xfoo foo", "foo"), True)
@example(("x" * 100, "x" * 64), True)
@example(("猫猫猫", "猫猫"), False)
@example(("黒猫foo", "猫foo"), True)
@example(("a\u0301b", "a"), False)
def test_what_is_found_is_what_the_rules_say(search: tuple[str, str], literal: bool) -> None:
    text, query = search
    wanted = _wanted(query, literal=literal)
    assert bool(wanted.spans(text)) == is_found(wanted, text)


@given(cuts())
def test_what_a_text_is_cut_from_is_found_in_it(cut: tuple[str, str]) -> None:
    text, part = cut
    if composed(part) != part or not words(part):
        return  # it began with a sign that stands on a letter
    assert Wanted.parse(part, literal=True).spans(text)
    if '"' not in part:
        assert Wanted.parse(f'"{part}"*').spans(text)


@given(cuts(), st.data())
def test_the_words_of_a_text_find_it(cut: tuple[str, str], data: st.DataObject) -> None:
    text = cut[0]
    found = list(tokens(fold(text).text))
    first = data.draw(st.integers(0, len(found) - 1))
    last = data.draw(st.integers(first, min(len(found) - 1, first + 20)))
    part = fold(text).text[found[first].start : found[last].end]
    if '"' in part or fold(composed(part)).text != part:
        return
    assert _wanted(f'"{part}"', literal=False).spans(text)
    size = data.draw(st.integers(1, len(found[last].text)))
    beginning = part[: found[last].start - found[first].start + size]
    if fold(composed(beginning)).text == beginning:
        assert _wanted(f'"{beginning}"*', literal=False).spans(text)


@given(searches(), st.booleans())
def test_an_index_of_words_finds_at_least_what_is_there(
    search: tuple[str, str], literal: bool
) -> None:
    text, query = search
    wanted = _wanted(query, literal=literal)
    indexed = " ".join(words(text)).split(" ")
    in_index = all(phrase_in_words(phrase, indexed) for phrase in wanted.phrases)
    if wanted.exact:
        assert in_index or not wanted.spans(text)
    else:
        assert in_index == bool(wanted.spans(text))


@given(searches(), st.booleans())
@example(("wait… foo", "wait…"), True)
@example((" \n foo", "\n foo"), True)
@example(("foo" + "-" * 400 + "bar", '"foo bar"'), False)
def test_marks_are_what_was_found(search: tuple[str, str], literal: bool) -> None:
    text, query = search
    spans = _wanted(query, literal=literal).spans(text)
    if not spans:
        return
    assert spans == sorted(spans)
    line, marks = snippet(text, spans)
    assert len(line) <= 3 * 60 + 2
    assert marks
    behind = 0
    for mark, span in zip(marks, spans, strict=False):
        assert behind <= mark.start < mark.end <= len(line)
        behind = mark.end
        shown, full = line[mark.start : mark.end], " ".join(text[span.start : span.end].split())
        assert full.startswith(" ".join(shown.split()))
        if len(text) < 60:
            assert shown == full
    shown = line.removeprefix("…").removesuffix("…")
    assert "".join(shown.split()) in "".join(text.split())


@given(texts)
def test_a_composed_text_is_found_in_either_form(text: str) -> None:
    text = text.replace('"', "a")
    wanted = _wanted(f'"{composed(text)}"', literal=False)
    assert wanted == _wanted(f'"{unicodedata.normalize("NFD", text)}"', literal=False)


def test_characters_of_runs_are_tokens_of_their_own() -> None:
    for text in ("黒", "は", "한", "ก", "က", "ក"):
        assert is_spaceless(text)
        assert words(f"a{text}b") == ["a", text, "b"]
    for text in ("a", "1", "é", "न", "_", " "):
        assert not is_spaceless(text)


@pytest.mark.parametrize(
    "query",
    [
        "x" * (MAX_QUERY + 1),
        " ".join(f"x{n}" for n in range(101)),
        "猫" * 102,
        "\ud800x",
        "x\udfff",
        "",
        " ",
        '"x',
    ],
)
@pytest.mark.parametrize("literal", [False, True])
def test_what_cannot_be_understood(query: str, literal: bool) -> None:
    if literal and query == '"x':
        assert Wanted.parse(query, literal=True)
        return
    with pytest.raises(InvalidRequest) as caught:
        Wanted.parse(query, literal=literal)
    assert caught.value.hint
