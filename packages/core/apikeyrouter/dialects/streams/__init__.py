"""Streams as they pass: events, their beginning, the usage that they tell, their coding."""
