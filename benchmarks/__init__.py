"""Benchmarks: every figure beside the machine's own limit, in one run, as a ratio."""
