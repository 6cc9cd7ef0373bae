"""Records to findings, tables and documents; needs no torch."""
