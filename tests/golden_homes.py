"""The golden homes of ``tests/golden``, for tests."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FOLDER = Path(__file__).parent / "golden"
LABELS = sorted(path.parent.name for path in FOLDER.glob("*/answers.json"))


class Golden:
    """One recorded home and what its release says about it (``tests/golden/README.md``)."""

    def __init__(self, label: str) -> None:
        text = (FOLDER / label / "answers.json").read_text(encoding="utf-8")
        answers: Json = json.loads(text)
        self.label = label
        self.release = tuple(int(part) for part in answers["version"].split("."))
        self.folders: str = answers["folders"]
        self.examples: dict[str, str] = answers["examples"]
        self.prompts: dict[str, str] = answers["prompts"]
        self.lists: dict[str, dict[str, list[str]]] = answers["lists"]
        self.threads: dict[str, Json] = answers["threads"]
        self.rows: dict[str, Json] = answers["rows"]
        self.names = {thread_id: example for example, thread_id in self.examples.items()}

    def unpack(self, folder: Path) -> Path:
        """The home in a folder of its own: moved away from where the release wrote it."""
        home = folder / "moved"
        with tarfile.open(FOLDER / self.label / "home.tar.xz") as archive:
            archive.extractall(home, filter="data")
        return home

    def listed(self, *, archived: bool) -> set[str]:
        """The ids that the release lists."""
        by_key = self.lists.get("archived" if archived else "active", {})
        return {thread_id for ids in by_key.values() for thread_id in ids}
