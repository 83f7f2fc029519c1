"""Values that a recorded schema describes, and some that it does not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tests.appserver.schema import recorded

Json = dict[str, Any]

WORDS = st.one_of(st.sampled_from(["", "a", "/a", "\0", "é\n", "x" * 300]), st.text(max_size=8))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1]), st.integers(-10, 300)
)


def values(release: str, schema: Any, ids: st.SearchStrategy[str], depth: int = 0) -> Any:
    """A strategy for values of *schema*; *ids* are what properties called ``…Id`` may be."""
    if not isinstance(schema, dict) or depth > 6:
        return ANYTHING
    if "$ref" in schema:
        inner = recorded(release)["definitions"][schema["$ref"].rpartition("/")[2]]
        return st.deferred(lambda: values(release, inner, ids, depth + 1))
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return st.one_of([values(release, one, ids, depth + 1) for one in schema[key]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return st.one_of([_of_kind(release, kind, schema, ids, depth) for kind in kinds]) | (
        st.nothing() if kinds else ANYTHING
    )


def _of_kind(
    release: str, kind: str, schema: Json, ids: st.SearchStrategy[str], depth: int
) -> st.SearchStrategy[Any]:
    if kind == "object":
        return _objects(release, schema, ids, depth)
    if kind == "array":
        return st.lists(values(release, schema.get("items"), ids, depth + 1), max_size=3)
    simple: dict[str, st.SearchStrategy[Any]] = {
        "string": WORDS,
        "integer": NUMBERS,
        "number": NUMBERS | st.floats(allow_nan=False),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return simple[kind]


def _objects(
    release: str, schema: Json, ids: st.SearchStrategy[str], depth: int
) -> st.SearchStrategy[Json]:
    known = {
        name: ids | WORDS
        if name.endswith("Id") and depth < 3
        else values(release, inner, ids, depth + 1)
        for name, inner in schema.get("properties", {}).items()
    }
    need = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: value for name, value in known.items() if name in need},
        optional={name: value for name, value in known.items() if name not in need},
    )
