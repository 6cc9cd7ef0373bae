"""A mode of timing to the ledger and the timer of one epoch."""

from __future__ import annotations

from laptime.phase import Phase
from laptime.record import Mode
from laptime.timing.clock import CudaClock, device_wait, read_ns, waiting_read_ns
from laptime.timing.ledger import HostLedger
from laptime.timing.windows import EventTimer, HostTimer, StepTimer, WindowPolicy

# A CPU's losses need no crossing: every window may be as short as one step.
HOST_POLICY = WindowPolicy(min_steps=1)


def build_timer(mode: Mode, device: str, first_step: int = 1) -> tuple[HostLedger, StepTimer]:
    """Return a ledger, started, and its timer.

    Args:
        mode: How time is taken.
        device: The device as torch names it: cpu, cuda:0.
        first_step: The first step that is timed, 1-based in the epoch.
    """
    if mode == "sync":
        ledger = HostLedger(waiting_read_ns(device_wait(device)))
        return ledger, HostTimer(ledger, HOST_POLICY, first_step)
    ledger = HostLedger(read_ns)
    if mode == "events":
        return ledger, EventTimer(ledger, CudaClock(device), WindowPolicy(), first_step)
    timer = Untimed if mode == "off" else HostTimer
    return ledger, timer(ledger, HOST_POLICY, first_step)


class Untimed(HostTimer):
    """A timer that charges everything to ``other``: mode off.

    It reads the clock once a step, so that losses still show about once a second.
    """

    def enter(self, phase: Phase) -> Phase:  # noqa: ARG002 - the protocol passes it
        """Stay in ``other``."""
        return Phase.OTHER

    def end_step(self) -> bool:
        """Count a step; return whether it is time to show something."""
        super().enter(Phase.OTHER)
        return super().end_step()
