"""How a process ended that did not say it itself: by its exit status."""

from __future__ import annotations

import signal

from laptime.replicate import Outcome

REFUSED, INTERRUPTED = 2, 130
"""Exit statuses of ``laptime train`` for bad input, and for a stop that somebody asked for."""


def ending(code: int) -> tuple[Outcome, str]:
    """Return outcome and reason of a process that ended without saying why."""
    if code == INTERRUPTED:
        return "killed", "it was stopped from outside"
    if code >= 0:
        return "failed", f"its process ended with status {code}"
    name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    memory = " (the kernel does this when memory runs out)" if name == "SIGKILL" else ""
    return "killed", f"its process was ended by {name}{memory}"
