"""The words of a report that a reader may not know."""

from __future__ import annotations

WORDS = (
    ("loading", "time that the training stood still until a batch was there"),
    ("training", "transfer, forward, backward, update, and waits for the device"),
    ("other", "evaluation, checkpoints, logging, and the rest of an epoch"),
    ("cold", "the first epoch of a process, which pays for what later ones find ready"),
    ("window", "half a second or more of steps in a row: what intervals of a script are over"),
    ("top-1", "share of samples whose most likely class was the right one"),
    ("mode host", "times read on the CPU's clock; a GPU would be timed by events of its own"),
    ("arm", "one setting that is compared"),
    ("turn", "a short window in which one arm trains and the others stand still"),
    ("block", "one fresh process for each arm, taking turns; intervals are over blocks"),
    ("[low, high]", "the 95 % interval; digits that it does not support are not printed"),
    ("again, A/A", "the same setting once more: what two equal arms differ by"),
    ("resident", "an arm whose batches are in memory already: perfect loading, measured"),
    ("plateau", "the worker counts that are not shown to be slower than the best"),
    ("resolution", "the smallest difference that so many blocks would most likely have shown"),
    ("refused", "there is a reason not to conclude, with what was seen and what to do"),
    ("seed", "where random numbers start; five runs with their own give a verdict on top-1"),
)
"""A word and what it means here."""
