"""Texts of mixed scripts, out of which hits and near misses come often."""

from __future__ import annotations

from hypothesis import strategies as st

from threadstore.search.tokens import composed, fold, tokens

__all__ = ["LETTERS", "cuts", "queries", "searches", "texts"]

LETTERS = (
    'aAbB1_ .-"*\n\t\x00'  # Latin, what a query takes for its own, white space, control characters
    "ée\u0301ßSsİi\u0307ﬁŉǰσςΣ"  # accents, and letters whose case changes lengths
    "黒猫は、々ー・ｱ𠀀"  # runs
    "한\u1112\u1161\u11abกำनि\u093fعَ"  # and what is composed, and signs that stand on letters
    "🧵\u200d\ufeff\u2028"
)
_PIECES = ("foo", "bar", "foo.bar", "x" * 63, "x" * 64, "x" * 65, "黒猫", "Straße", "STRASSE", " ")

texts = st.lists(st.sampled_from(LETTERS) | st.sampled_from(_PIECES), max_size=12).map("".join)
queries = texts | st.text(max_size=20) | st.text(st.characters(exclude_categories=()), max_size=5)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[str, str]:
    """A composed text with a word in it, and a part that begins where a word begins."""
    text = composed(draw(texts) + draw(st.sampled_from(_PIECES[:-1])))
    folded = fold(text)
    places = sorted({folded.origin(token.start) for token in tokens(folded.text)})
    start = draw(st.sampled_from(places))
    return text, text[start : draw(st.integers(start + 1, len(text)))]


@st.composite
def searches(draw: st.DrawFn) -> tuple[str, str]:
    """A composed text, and a query that often finds it."""
    text, part = draw(cuts())
    query = draw(
        st.sampled_from([part, part.swapcase(), f'"{part}"', f'"{part}"*', f"{part}*"])
        | st.lists(st.sampled_from(part.split() or ["a"]), min_size=1).map(" ".join)
        | queries
    )
    return text, query
