"""What may be tried, and what could come of it at most."""
