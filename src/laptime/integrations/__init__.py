"""One line for the frameworks that own the training loop; each needs its framework alone."""
