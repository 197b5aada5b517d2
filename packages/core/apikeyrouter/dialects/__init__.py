"""Wire dialects, one folder each: what is known of how a kind of provider is spoken to."""
