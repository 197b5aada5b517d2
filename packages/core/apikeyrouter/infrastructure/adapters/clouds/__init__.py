"""Providers whose paths name what other providers have in the body."""
