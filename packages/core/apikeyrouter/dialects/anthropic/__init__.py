"""Anthropic's messages and the endpoints around them."""
