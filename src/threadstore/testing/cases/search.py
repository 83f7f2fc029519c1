"""Searching: which texts a query finds, by words, phrases, beginnings and literally."""

from __future__ import annotations

import pytest

from threadstore.errors import InvalidRequest
from threadstore.search.texts import MAX_TEXT
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import Cases, where
from threadstore.testing.cases.search_base import (
    found,
    hits,
    marked,
    occurrences,
    refused,
    said,
    search,
    with_items,
)
from threadstore.testing.cases.search_samples import SAMPLES, Sample
from threadstore.testing.clock import ManualClock
from threadstore.testing.seeds import record_thread

__all__ = ["SearchMatchTests", "SearchTextTests"]


_every_sample = pytest.mark.parametrize("case", SAMPLES, ids=str)


@where("_searches")
class SearchMatchTests(Cases):
    """One text; the rules of :mod:`threadstore.search.wanted` in examples."""

    @_every_sample
    async def test_a_text_is_found_by(
        self, store: ThreadStore, clock: ManualClock, case: Sample
    ) -> None:
        await said(store, clock, "something else")
        wanted = await said(store, clock, "before", case.text, "behind")
        for literal, finds, misses in (
            (False, case.finds, case.misses),
            (True, case.finds_literally, case.misses_literally),
        ):
            for text in finds:
                assert await found(store, text, literal=literal) == [wanted], text
            for text in misses:
                assert await found(store, text, literal=literal) == [], text
                assert await occurrences(store, wanted, search(text, literal=literal)) == []

    @_every_sample
    async def test_an_occurrence_says_where(
        self, store: ThreadStore, clock: ManualClock, case: Sample
    ) -> None:
        wanted = await said(store, clock, "before", case.text, "behind")
        position = (await store.load_history(wanted)).position - 1
        for literal, finds in ((False, case.finds), (True, case.finds_literally)):
            for text in finds:
                query = search(text, literal=literal)
                (each,) = await occurrences(store, wanted, query)
                assert (each.position, each.role, each.tool) == (position, "assistant", None)
                (hit,) = await hits(store, text, literal=literal)
                assert hit.found == each


@where("_searches")
class SearchTextTests(Cases):
    """Which texts there are, how they are shown, and what cannot be searched for."""

    async def test_all_words_are_in_one_text(self, store: ThreadStore, clock: ManualClock) -> None:
        await said(store, clock, "left side", "right side")
        both = await said(store, clock, "right and left")
        assert await found(store, "left right") == [both]

    async def test_what_matches_is_marked(self, store: ThreadStore, clock: ManualClock) -> None:
        text = "Straße 黒猫 one\n\n  two\tthree. Two " + "far " * 100 + "away two"
        thread = await said(store, clock, text)
        for asked, literal, parts in (
            ("two", False, ["two", "Two"]),
            ("STRASSE", False, ["Straße"]),
            ("stras", True, ["Straß"]),
            ("黒", False, ["黒"]),
            ("猫", False, ["猫"]),
            ("黒猫", False, ["黒猫"]),
            ('"one two"', False, ["one two"]),
            ("two three", False, ["two", "three", "Two"]),
            ("thr*", False, ["three"]),
            ("one\n\n  two", True, ["one two"]),
            ("away", False, ["away"]),
        ):
            (each,) = await occurrences(store, thread, search(asked, literal=literal))
            assert marked(each) == parts, asked

    async def test_a_snippet_is_one_short_line(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        for text in (
            "needle",
            f"{'long ' * 500}\n needle \n{'behind ' * 500}",
            f"needle{'-' * 5_000}haystack",
            f"{'-' * 5_000}needle",
            "\n\n needle \r\n",
            "…needle… needle …",
        ):
            thread = await said(store, clock, text)
            for asked in ("needle", "nee*", "needle -"):
                (each,) = await occurrences(store, thread, search(asked))
                assert marked(each)[0] == "needle"
        thread = await said(store, clock, f"needle{'-' * 5_000}haystack", "x" * 50_000)
        for asked in ('"needle haystack"', "x*"):
            assert len(await occurrences(store, thread, search(asked))) == 1

    async def test_the_beginning_of_a_long_text_is_searched(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        inside = "early " + "é" * (MAX_TEXT - 20) + " latest"
        assert len(inside) < MAX_TEXT
        thread = await said(store, clock, inside, f"{inside}{' pad' * 10} beyond")
        assert await found(store, "early") == [thread]
        assert len(await occurrences(store, thread, search("early latest"))) == 2
        assert await found(store, "beyond") == []
        assert await found(store, "beyond", literal=True) == []

    async def test_many_matches(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await said(store, clock, "again " * (MAX_TEXT // 6), "猫" * MAX_TEXT)
        assert await found(store, "again") == [thread]
        assert await found(store, "again", literal=True) == [thread]
        assert await found(store, "猫猫猫") == [thread]
        assert await found(store, "猫猫犬") == []

    async def test_what_a_tool_is_told_and_answers(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        added = [
            items.function_call("c1", "shell", '{"command":["grep","alpha","x.py"],"n":{"k":"v"}}'),
            items.custom_tool_call("c2", "apply_patch", "*** Begin\n+alpha"),
            items.function_call_output("c1", "x.py:1: alpha"),
            items.custom_tool_call_output("c2", "alpha is done"),
            items.local_shell_call("c3", "cat", "alpha.txt"),
            items.function_call_output("c3", "no alpha"),
            items.function_call("c4", "broken", "{not json alpha"),
            items.response("function_call_output", call_id="c4", output={"content": "alpha end"}),
            items.response(
                "function_call_output",
                call_id="gone",
                output=[{"type": "input_text", "text": "alpha"}, {"type": "input_image"}],
            ),
        ]
        thread = await with_items(store, clock, added)
        end = (await store.load_history(thread)).position
        every = await occurrences(store, thread, search("alpha"))
        assert [each.position for each in every] == list(range(end - len(added) + 1, end + 1))
        assert {each.role for each in every} == {"tool"}
        tools = ["shell", "apply_patch", "shell", "apply_patch", "local_shell", "local_shell"]
        assert [each.tool for each in every] == [*tools, "broken", "broken", None]
        for tools_asked, number in ((("shell",), 2), (("shell", "broken", "x"), 4), ((), 0)):
            query = search("alpha", tools=tools_asked)
            assert len(await occurrences(store, thread, query)) == number
            assert await found(store, "alpha", tools=tools_asked) == [thread][: min(number, 1)]
        assert await found(store, "grep alpha") == [thread]
        assert await found(store, "v", tools=("shell",)) == [thread]

    async def test_what_is_no_text(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await with_items(
            store,
            clock,
            [
                items.user_response("<environment_context>hidden</environment_context>"),
                items.response("reasoning", summary=[{"type": "summary_text", "text": "hidden"}]),
                items.event("agent_reasoning", text="hidden"),
                items.function_call("hidden", "hidden", '{"hidden":"seen"}'),
                items.turn_context(model="hidden", cwd="/hidden"),
                items.compacted("hidden"),
                items.unknown_item(message="hidden", type="hidden"),
                items.event("user_message", message=["hidden"]),
                items.event("agent_message", message=None),
            ],
        )
        assert await found(store, "hidden") == []
        assert await found(store, "seen") == [thread]

    async def test_a_message_counts_once(self, store: ThreadStore, clock: ManualClock) -> None:
        turn = items.turn("turn-2", "unheard", "of it")
        thread = await with_items(store, clock, turn)
        (each,) = await occurrences(store, thread, search("unheard"))
        assert each.role == "user"
        (each,) = await occurrences(store, thread, search('"of it"'))
        assert each.role == "assistant"

    async def test_search_by_role(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await record_thread(store, clock, "alpha asked", name="alpha named", live=True)
        await store.append_items(
            thread.id,
            [items.agent_message("alpha"), items.function_call("c", "f", '{"x":"alpha"}')],
        )
        every = await occurrences(store, thread.id, search("alpha"))
        assert [each.role for each in every] == ["title", "user", "assistant", "tool"]
        for each in every:
            query = search("alpha", roles=(each.role,))
            assert await occurrences(store, thread.id, query) == [each]
            (hit,) = await hits(store, "alpha", roles=(each.role,))
            assert hit.found == each
        query = search("alpha", roles=("user", "tool"))
        assert await occurrences(store, thread.id, query) == [every[1], every[3]]
        assert await found(store, "alpha", roles=()) == []
        assert await found(store, "alpha", roles=("user",), tools=("f",)) == []
        (hit,) = await hits(store, "alpha")
        assert hit.found == every[1]  # a message says more than a title

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " \t\n",
            "...",
            "-",
            '"',
            '""',
            '"open',
            'a "open',
            "*",
            "* a",
            "*foo",
            "a *",
            "_",
            "a" * 10240,
            "a " * 900,
            "猫" * 1000,
            ".*",
            '"."*',
            "\x00",
            "\u200b",
            "🧵",
            "(",
        ],
    )
    @pytest.mark.parametrize("literal", [False, True])
    async def test_what_cannot_be_searched_for(
        self,
        store: ThreadStore,
        clock: ManualClock,
        text: str,
        literal: bool,  # noqa: FBT001
    ) -> None:
        thread = await said(store, clock, "a foo * x")
        try:
            query = search(text, literal=literal)
        except InvalidRequest as error:
            refused(error)
        else:
            assert set(await found(store, text, literal=literal)) <= {thread}
            assert len(await occurrences(store, thread, query)) <= 1

    @pytest.mark.parametrize(
        "text", ["a\x00b", "\ud800 foo", "foo\udfff", "\x1b[0m foo", "\ufffe foo", "'; DROP foo"]
    )
    @pytest.mark.parametrize("literal", [False, True])
    async def test_odd_characters_disturb_nothing(
        self,
        store: ThreadStore,
        clock: ManualClock,
        text: str,
        literal: bool,  # noqa: FBT001
    ) -> None:
        await said(store, clock, "a foo * x")
        for ranked in (False, True):
            try:
                await found(store, text, literal=literal, ranked=ranked, limit=1)
                await found(store, "foo", tools=(text,), ranked=ranked)
            except InvalidRequest as error:
                refused(error)
