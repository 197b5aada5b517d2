"""Which key draws on which account, and what is learned of its limits."""
