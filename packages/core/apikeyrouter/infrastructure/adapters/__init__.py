"""Providers, transport, and the dialects they speak."""
