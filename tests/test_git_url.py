"""Remote URLs never carry secrets."""

from __future__ import annotations

import pytest

from threadstore.git_url import strip_credentials


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:sekret@git.example.test/a/b.git", "https://git.example.test/a/b.git"),
        ("https://token@git.example.test/a/b.git", "https://git.example.test/a/b.git"),
        ("https://user:p@ss@git.example.test/a", "https://git.example.test/a"),
        ("HTTPS://u:p@h/x", "HTTPS://h/x"),
        ("ssh://git:pw@h:22/x", "ssh://h:22/x"),
        ("https://git.example.test/a/b@v1.git", "https://git.example.test/a/b@v1.git"),
        ("https://h/x?mail=a@b", "https://h/x?mail=a@b"),
        ("git@example.test:a/b.git", "git@example.test:a/b.git"),
        ("/srv/git/a@b.git", "/srv/git/a@b.git"),
        ("", ""),
    ],
)
def test_user_name_and_password_go_and_nothing_else(url: str, expected: str) -> None:
    assert strip_credentials(url) == expected
    assert strip_credentials(expected) == expected
