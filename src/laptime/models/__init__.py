"""The networks that laptime knows by name, and those of the user."""
