"""Clocks, ledgers and facts of the machine."""
