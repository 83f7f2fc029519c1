"""Threads in the words of Codex's v2 protocol, for every face that speaks JSON."""
