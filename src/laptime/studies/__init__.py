"""Questions answered by many runs."""
