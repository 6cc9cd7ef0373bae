"""The recorder: what enters a foreign training script and keeps its ledger.

Everything here but ``command.py`` runs inside the script's own process and imports the standard
library and torch only: Python 3.9, torch 2.1.
"""
