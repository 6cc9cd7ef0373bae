"""The phases that a training epoch is divided into, and the columns they add up to."""

from __future__ import annotations

from enum import Enum


class Phase(str, Enum):  # noqa: UP042 - StrEnum came with Python 3.11; recorders run on 3.9
    """What the training process is doing; exactly one phase is current at any time.

    Phases do not nest and cover the whole epoch, so that their times sum to its wall time.
    """

    # Equal to its text, so hashed like it; and ledgers look phases up several times a step, where
    # Enum's own hash, which is written in Python, would be a third of the cost.
    __hash__ = str.__hash__

    LOADER_START = "loader_start"
    """``iter(loader)`` up to and including the first batch: worker start-up lives here."""
    DATA_WAIT = "data_wait"
    """``next()`` for every later batch: the wait, not the work of loading."""
    TRANSFER = "transfer"
    """Host to device."""
    FORWARD = "forward"
    """The model, the loss and the count of correct answers."""
    BACKWARD = "backward"
    """Gradients."""
    OPTIMIZER = "optimizer"
    """The update and the clearing of gradients."""
    LOADER_END = "loader_end"
    """The ``next()`` that ends the epoch, and the workers' shutdown."""
    SYNC = "sync"
    """Waiting for the device."""
    EVALUATION = "evaluation"
    """The pass over the test set."""
    CHECKPOINT = "checkpoint"
    """Writing what a run resumes from."""
    LOGGING = "logging"
    """Progress display and records of steps."""
    OTHER = "other"
    """Everything else in the loop: measured, not a remainder."""


LOADING = (Phase.LOADER_START, Phase.DATA_WAIT, Phase.LOADER_END)
"""The column *data loading*."""

TRAINING = (Phase.TRANSFER, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER, Phase.SYNC)
"""The column *training*."""

REMAINING = (Phase.EVALUATION, Phase.CHECKPOINT, Phase.LOGGING, Phase.OTHER)
"""The column *other*."""
