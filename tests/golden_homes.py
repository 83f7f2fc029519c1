"""The golden homes of ``tests/golden``, for tests."""

from __future__ import annotations

import functools
import json
import re
import tarfile
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FOLDER = Path(__file__).parent / "golden"
LABELS = sorted(path.parent.name for path in FOLDER.glob("*/answers.json"))
_ROLLOUT = re.compile(r"rollout-[-\dT]{20}([-0-9a-f]{36})(?:_[-0-9a-f]{36})?\.jsonl(?:\.zst)?$")


class Golden:
    """One recorded home and what its release says about it (``tests/golden/README.md``)."""

    def __init__(self, label: str) -> None:
        text = (FOLDER / label / "answers.json").read_text(encoding="utf-8")
        answers: Json = json.loads(text)
        self.label = label
        self.variant = label.partition("-")[2]
        self.release = tuple(int(part) for part in answers["version"].split("."))
        with tarfile.open(self._archive) as archive:
            found = map(_ROLLOUT.search, archive.getnames())
            self.ids = {match[1] for match in found if match}
        self.examples: dict[str, str] = {
            example: thread_id
            for example, thread_id in answers["examples"].items()
            if thread_id in self.ids
        }
        self.prompts: dict[str, str] = answers["prompts"]
        self.lists: dict[str, dict[str, list[str]]] = answers["lists"]
        self.threads: dict[str, Json] = answers["threads"]
        self.rows: dict[str, Json] = answers["rows"]
        self._names = {thread_id: example for example, thread_id in self.examples.items()}

    @property
    def _archive(self) -> Path:
        return FOLDER / self.label / "home.tar.xz"

    def example(self, thread_id: str) -> str:
        """What the thread is an example of; a release makes sub-agents by itself."""
        source = self.threads.get(thread_id, {}).get("source")
        made = "sub-agent" if "thread_spawn" in str(source) else "review"
        return self._names.get(thread_id, made)

    def unpack(self, folder: Path) -> Path:
        """The home in a folder of its own: moved away from where the release wrote it."""
        home = folder / "moved"
        with tarfile.open(self._archive) as archive:
            archive.extractall(home, filter="data")
        return home


@functools.cache
def load(label: str) -> Golden:
    """The home of this label, read once."""
    return Golden(label)
