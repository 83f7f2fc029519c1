"""The PostgreSQL store: the same threads beyond one machine."""
