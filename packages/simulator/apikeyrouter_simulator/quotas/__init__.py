"""What a simulated provider lets through: windows, tallies, limits, and the ideal client."""
