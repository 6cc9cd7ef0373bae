"""A script as its author wrote it, and as it would be with other settings."""
