"""OpenAI: chats, completions, embeddings, and the objects that clients keep with it."""
