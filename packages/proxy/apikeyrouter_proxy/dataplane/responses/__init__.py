"""What responses need beside forwarding: objects that stay with their key."""
