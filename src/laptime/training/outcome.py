"""How a training ended when somebody's code raised: its status, and one line about it."""

from __future__ import annotations

import traceback
from typing import Literal

import torch

from laptime.errors import printable

_OUT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory", "out of memory", "Cannot allocate")


def status_of(error: BaseException) -> Literal["failed", "out_of_memory"]:
    """Tell memory that ran out from every other failure."""
    out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        word in str(error) for word in _OUT_OF_MEMORY
    )
    return "out_of_memory" if out_of_memory else "failed"


def summary(error: BaseException) -> str:
    """Return an error of somebody else's code on one line, with its place.

    What a loader worker raised arrives with its traceback as text: its last line is the error.
    """
    lines = str(error).strip().splitlines() or [""]
    said = f"{lines[0]} {lines[-1]}" if "Original Traceback" in str(error) else " ".join(lines)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return printable(f"{type(error).__name__}: {said[:400]} ({where.filename}:{where.lineno})")
