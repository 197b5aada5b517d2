"""The contracts between the domain and its hands."""
