"""A run as blocks: its epochs, its ledger, what limits it."""
