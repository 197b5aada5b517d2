"""Gemini: generated content, counts, embeddings and files."""
