"""OpenAI's responses: made, streamed, kept, and over a WebSocket."""
