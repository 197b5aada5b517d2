"""How commands reach what they manage: the running service, or the store where none runs."""
