"""Limits as data: declared by an operator, told by a provider, ended by a calendar."""
