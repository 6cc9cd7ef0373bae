"""What a tuning says: blocks, findings, its document."""
