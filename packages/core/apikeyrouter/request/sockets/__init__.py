"""WebSockets to providers, used as if each answer came by a request of its own."""
