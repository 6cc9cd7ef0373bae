"""Processes that end with the one that started them, whatever ends it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""``prctl(2)``: the signal that this process gets when the thread that started it ends."""


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process when its parent is gone; Linux only.

    A stopped process (SIGSTOP) would otherwise outlive a parent that was killed: it can neither
    notice nor act.

    Args:
        parent: Who it must be; this process ends at once if that one has ended before the call.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
