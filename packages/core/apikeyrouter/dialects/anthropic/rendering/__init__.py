"""Anthropic's messages to and from the neutral form."""
