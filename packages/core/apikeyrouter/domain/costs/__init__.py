"""What requests cost, and what makes them cost less."""
