"""The processes of arms: somebody's script, or the built-in job."""
