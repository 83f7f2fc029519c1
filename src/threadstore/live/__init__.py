"""Live threads: one handle per active thread."""
