"""Contracts between the domain and the infrastructure."""
