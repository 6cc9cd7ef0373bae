"""Blocks to verdicts: times, losses, and what is kept."""
