"""The history of a thread: lossless items, what of them persists, and what they add up to."""
