"""WebSockets of clients."""
