"""What replicates say together: intervals, verdicts, searches, refusals; no torch."""
