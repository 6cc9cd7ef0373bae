"""A study as blocks: tables, decisions, and why."""
