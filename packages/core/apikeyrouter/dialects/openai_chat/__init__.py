"""OpenAI's chat completions and the endpoints around them."""
