"""Who waits, and who is let in when room comes."""
