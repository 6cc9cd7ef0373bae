"""The stages of the search that run blocks."""
