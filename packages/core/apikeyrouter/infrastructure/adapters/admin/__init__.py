"""What providers tell an administrator of accounts and limits, one module a provider's shape."""
