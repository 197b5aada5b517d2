"""What a provider's refusal means: from status, headers and body to a failure class."""
