"""The turn engine: sessions that drive a model and keep every item (see README.md)."""
