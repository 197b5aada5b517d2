"""ApiKeyRouter."""
