"""The hands: everything that waits."""
