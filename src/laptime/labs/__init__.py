"""The lab: its parts in order, what they take, how far they are, and the folder to hand in."""
