"""A script that ran under the recorder, as blocks: its epochs, its ledger, where its time goes."""
