"""What is served where: one table of routes a dialect."""
