"""Two sides against each other, as blocks."""
