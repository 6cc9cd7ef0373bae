"""One training run: optimizer, step, loop, checkpoints."""
