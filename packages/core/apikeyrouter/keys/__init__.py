"""What is done about keys beside requests."""
