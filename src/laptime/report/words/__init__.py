"""How things are said: lines, blocks, verdicts, names of arms, pairs."""
