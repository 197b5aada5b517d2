"""What one process learns all processes know, unless they know something newer."""
