"""``threadstore export``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Home, Run
from tests.golden_homes import Golden

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Command = Callable[..., "subprocess.CompletedProcess[bytes]"]


def decompressed(path: Path) -> bytes:
    if path.exists():
        return path.read_bytes()
    return zstd.decompress(path.with_name(path.name + ".zst").read_bytes())


def rollout(home: Home, thread_id: str) -> Path:
    (path,) = home.path.glob(f"**/rollout-*-{thread_id}.jsonl")
    return path


def test_jsonl_is_the_rollout_byte_for_byte(command: Command, home: Home) -> None:
    result = command("export", home.plain, "--format", "jsonl")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == rollout(home, home.plain).read_bytes()


def test_jsonl_keeps_damage_blank_lines_and_a_torn_tail(command: Command, home: Home) -> None:
    path = rollout(home, home.plain)
    with path.open("ab") as file:
        file.write(b'\n\nnot json\n{"type":"event_msg"\r\n\xff\xfe' + b"x" * 100_000)
    assert command("export", home.plain, "--format", "jsonl").stdout == path.read_bytes()


def test_jsonl_of_a_compressed_rollout_is_decompressed(command: Command, home: Home) -> None:
    path = rollout(home, home.plain)
    lines = path.read_bytes()
    path.with_name(path.name + ".zst").write_bytes(zstd.compress(lines))
    path.unlink()
    assert command("export", home.plain, "--format", "jsonl").stdout == lines


def test_jsonl_of_an_archived_thread_is_the_same(command: Command, home: Home) -> None:
    result = command("export", "Old story", "--format", "jsonl")
    assert result.stdout == rollout(home, home.archived).read_bytes()


@pytest.mark.parametrize("label", ["0.29.0", "0.169.0-compressed"])
def test_rollouts_of_codex_itself_come_out_as_they_are(
    bare_cli: Run, tmp_path: Path, label: str
) -> None:
    store = f"local:{Golden(label).unpack(tmp_path)}"
    target = tmp_path / "export.jsonl"
    threads = bare_cli("list", "--all", "--json", "--store", store).json["data"]
    assert threads
    for thread in threads:
        words = ("--format", "jsonl", "--output", str(target), "--force", "--store", store)
        assert bare_cli("export", thread["id"], *words).code == 0
        assert target.read_bytes() == decompressed(Path(thread["path"]))


def test_json_is_the_thread_with_all_turns(cli: Run, home: Home) -> None:
    export = cli("export", home.named, "--format", "json").json
    assert list(export) == ["thread"]
    assert export["thread"]["name"] == "Parser rewrite"
    (turn,) = export["thread"]["turns"]
    assert turn["itemsView"] == "full"
    assert [item["type"] for item in turn["items"]] == ["userMessage", "agentMessage"]


def test_markdown_is_the_conversation(cli: Run, home: Home) -> None:
    text = cli("export", home.named).out
    assert text.startswith("# Parser rewrite\n")
    assert f"- Thread: {home.named}\n" in text
    assert "\n## User\n\nfix the parser\n" in text
    assert "\n## Agent\n\ndone\n" in text


def test_output_names_a_new_file(cli: Run, home: Home, tmp_path: Path) -> None:
    target = tmp_path / "story.json"
    result = cli("export", home.named, "--format", "json", "--output", str(target))
    assert (result.code, result.out) == (0, "")
    assert json.loads(target.read_bytes())["thread"]["id"] == home.named


def test_an_existing_file_is_replaced_by_force_only(cli: Run, home: Home, tmp_path: Path) -> None:
    target = tmp_path / "story.md"
    target.write_text("precious")
    refused = cli("export", home.named, "--output", str(target))
    assert refused.code == 2
    assert "--force" in refused.err
    assert target.read_text() == "precious"
    assert cli("export", home.named, "--output", str(target), "--force").code == 0
    assert "fix the parser" in target.read_text()


def test_a_failed_export_leaves_no_file_behind(cli: Run, home: Home, tmp_path: Path) -> None:
    target = tmp_path / "story.md"
    assert cli("export", "no such thread", "--output", str(target)).code == 2
    assert cli("export", home.named, "--output", str(tmp_path / "no" / "folder.md")).code == 2
    assert cli("export", home.named, "--output", str(tmp_path)).code == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("kind", ["md", "json", "jsonl"])
def test_a_history_that_cannot_be_read_replaces_nothing(
    cli: Run, home: Home, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "story"
    target.write_text("precious")
    path = rollout(home, home.plain)
    path.with_name(path.name + ".zst").write_bytes(b"not compressed")
    path.unlink()
    words = ("export", home.plain, "--format", kind)
    result = cli(*words, "--output", str(target), "--force")
    assert (result.code, target.read_text()) == (2, "precious")
    assert "can be read" in result.err
    assert cli(*words).out == ""
    assert cli("turns", home.plain).code == 2
