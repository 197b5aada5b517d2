"""What happens, told once: the events, who is told, and what a request's are made of."""
