"""User messages: what of them is shown."""

from __future__ import annotations

from typing import Any

import pytest

from threadstore.history.messages import UserText, bare_user_text, content_text, user_text


@pytest.mark.parametrize(
    ("payload", "preview", "title"),
    [
        ({"message": " hello \n"}, "hello", "hello"),
        ({"message": "a\nb"}, "a\nb", "a\nb"),
        ({"message": "ctx\n## My request for Codex:\n do it "}, "do it", "do it"),
        (
            {"message": "## My request for Codex:a## My request for Codex:b"},
            "a## My request for Codex:b",
            "a## My request for Codex:b",
        ),
        ({"message": "## My request for Codex:  "}, None, None),
        ({"message": "", "images": ["data:x"]}, "[Image]", None),
        ({"message": " ", "local_images": ["/a.png"]}, "[Image]", None),
        ({"message": "", "file_ids": ["f"]}, "[Image]", None),
        ({"message": "", "audio": ["a"]}, "[Audio]", None),
        ({"message": "", "local_audio": ["a"], "images": ["i"]}, "[Image]", None),
        ({"message": "see", "images": ["data:x"]}, "see", "see"),
        ({"message": "", "images": [], "local_images": None}, None, None),
        ({"message": 5}, None, None),
        ({}, None, None),
        (None, None, None),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab", "ab"),
        ({"content": [{"type": "local_image", "path": "/a"}]}, "[Image]", None),
        ({"content": [{"type": "image", "image_url": "x"}, {"type": "audio"}]}, "[Image]", None),
        ({"content": [{"type": "local_audio", "path": "/a"}]}, "[Audio]", None),
        ({"content": [{"type": "mention", "name": "x", "path": "p"}]}, None, None),
        ({"content": [5, None, {"type": "text", "text": 5}]}, None, None),
    ],
)
def test_preview_and_title_of_a_message(
    payload: Any, preview: str | None, title: str | None
) -> None:
    assert user_text(payload) == UserText(preview, title)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("plain", "plain"),
        ([{"text": "a"}, {"text": None}, 5], "a"),
        (None, ""),
        ({"text": "x"}, ""),
    ],
)
def test_the_text_of_content(content: Any, expected: str) -> None:
    assert content_text(content) == expected


@pytest.mark.parametrize(
    ("text", "role", "said", "cwd"),
    [
        ("fix it", "user", "fix it", None),
        ("fix it", "assistant", None, None),
        ("<environment_context>\n<cwd>/a b</cwd></environment_context>", "user", None, "/a b"),
        ("<environment_context></environment_context>", "user", None, None),
        ("<user_instructions>x</user_instructions>", "user", None, None),
    ],
)
def test_what_a_model_message_of_the_user_says(
    text: str, role: str, said: str | None, cwd: str | None
) -> None:
    payload = {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}
    assert bare_user_text(payload) == (said, cwd)
    assert bare_user_text({**payload, "type": "reasoning"}) == (None, None)
