"""OpenAI's Responses: typed events, stored objects."""
