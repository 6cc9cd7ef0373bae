"""The only place that reads time or waits for a device; standard library only."""

from __future__ import annotations

import time
from typing import Any, Callable, Protocol

ReadNs = Callable[[], int]
"""A clock: returns integer nanoseconds that never go back."""

read_ns: ReadNs = time.perf_counter_ns
"""The host clock. Set-backs and leaps of the calendar do not reach it (PEP 418)."""

process_cpu_ns: ReadNs = time.process_time_ns
"""CPU time of this process, all threads: work, never part of the exposed ledger."""

sleep_s = time.sleep
"""Pass time without using a core: what planted costs and polite polling do."""


class FakeClock:
    """A clock that moves only when told: what tests inject."""

    def __init__(self, start_ns: int = 0) -> None:
        self.now_ns = start_ns
        self.num_reads = 0

    def read_ns(self) -> int:
        """Return the current time, and count that it was asked for."""
        self.num_reads += 1
        return self.now_ns

    def advance_ns(self, duration_ns: int) -> None:
        """Let time pass."""
        if duration_ns < 0:
            raise ValueError(f"time does not go back: {duration_ns} ns")
        self.now_ns += duration_ns


class DeviceEvent(Protocol):
    """A point in a device's stream of work, stamped when the device reaches it."""

    def elapsed_ns(self, later: Any) -> int:
        """Return the device time from this event to a later one, both reached."""


class DeviceClock(Protocol):
    """What the device ledger needs to know of a device."""

    def record(self) -> DeviceEvent:
        """Put an event into the compute stream without waiting for it."""

    def wait(self) -> None:
        """Block the host until the device has done all it was given."""


class CudaEvent:
    """One timing event on the current CUDA stream (resolution about 0.5 us)."""

    def __init__(self) -> None:
        import torch

        self._event = torch.cuda.Event(enable_timing=True)
        self._event.record()

    def elapsed_ns(self, later: CudaEvent) -> int:
        """Return device nanoseconds from this event to a later one, both reached."""
        return round(self._event.elapsed_time(later._event) * 1e6)


class CudaClock:
    """Events and waits of one CUDA device."""

    def __init__(self, device: Any) -> None:
        self._device = device

    def record(self) -> CudaEvent:
        """Put an event into the current stream of the device."""
        return CudaEvent()

    def wait(self) -> None:
        """Block until every stream of the device is drained."""
        import torch

        torch.cuda.synchronize(self._device)


def device_wait(device_type: str) -> Callable[[], None]:
    """Return a function that blocks until the device is idle; on a CPU there is nothing to wait for."""
    import torch

    if device_type == "cuda":
        return torch.cuda.synchronize
    if device_type == "mps":
        return torch.mps.synchronize
    return _no_wait


def waiting_read_ns(wait: Callable[[], None], read: ReadNs = read_ns) -> ReadNs:
    """Return a clock that waits for the device before it is read: mode ``sync``.

    Wait first, then read. Kernels queued by the phase being left would otherwise be charged to
    the next one.
    """

    def wait_then_read_ns() -> int:
        wait()
        return read()

    return wait_then_read_ns


def _no_wait() -> None:
    """Return at once."""
