"""Plain-Python twins of the designs of 2009, written from `docs/designs-2009.md` without a look at the engine."""
