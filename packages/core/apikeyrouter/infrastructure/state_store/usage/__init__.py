"""What requests used: rows and sums, as stores keep them."""
