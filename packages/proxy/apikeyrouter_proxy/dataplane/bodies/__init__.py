"""Request bodies: read within bounds, unpacked, looked at, and spliced into."""
