"""Where arms are compared, and what that costs."""
