"""Between clients that speak a dialect and the router: what passes, and what is told."""
