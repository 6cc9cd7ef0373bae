"""Questions answered by many runs, and the lab that asks them in order."""
