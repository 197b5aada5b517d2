"""What an account may still take: windows, and reservations over them."""
