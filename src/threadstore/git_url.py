"""Git remote URLs without secrets."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["strip_credentials"]

# scheme://userinfo@host… — the userinfo may itself hold an "@" (up to the last one before a slash).
_USERINFO: Final = r"^(\s*[A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@"


def strip_credentials(url: str) -> str:
    """*url* without user name and password.

    Codex 0.169 stores remote URLs so, 0.131 kept the password. An ``ssh`` user name (``git@``) is
    part of the userinfo and goes as well; the ``git@host:path`` form has no place for a password
    and stays.
    """
    return re.sub(_USERINFO, r"\1", url)
