"""The silent half: it decides, it never waits, it does no I/O."""
