"""Limits that nobody tells, searched for by what is let in and refused."""
