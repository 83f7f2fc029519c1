"""The local store: threads in the files of a Codex home."""
