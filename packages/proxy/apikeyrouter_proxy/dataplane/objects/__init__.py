"""Endpoints beside conversations: what they make is kept with the account that made it."""
