"""Google's Gemini, as its own API speaks."""
