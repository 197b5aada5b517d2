"""Which candidate takes a request."""
