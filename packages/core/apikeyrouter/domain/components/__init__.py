"""The promised components: key manager, routing engine, quota awareness engine."""
