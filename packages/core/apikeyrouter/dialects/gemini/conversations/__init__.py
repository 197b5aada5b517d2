"""Conversations in Gemini's dialect, to and from the neutral form."""
