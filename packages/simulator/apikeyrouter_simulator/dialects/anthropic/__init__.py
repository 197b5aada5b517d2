"""Anthropic: messages, batches of them, and files."""
