"""What is known of providers, as rows of data."""
