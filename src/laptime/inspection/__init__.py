"""Models taken apart: what is in them, and what a training step with them leaves behind."""
