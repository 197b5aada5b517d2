"""Events: their types, the feed that delivers them, and how a request's events are built."""
