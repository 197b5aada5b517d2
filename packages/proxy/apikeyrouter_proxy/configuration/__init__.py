"""The configuration while the service runs: what changes, applied whole or not at all."""
