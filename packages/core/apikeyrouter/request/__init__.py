"""The thin loops around a decision: they do the waiting of one request."""
