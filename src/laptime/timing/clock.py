"""The only place that reads time or waits for a device; standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import datetime

ReadNs = Callable[[], int]
"""A clock: returns integer nanoseconds that never go back."""

read_ns: ReadNs = time.perf_counter_ns
"""The host clock. Set-backs and leaps of the calendar do not reach it (PEP 418)."""

process_cpu_ns: ReadNs = time.process_time_ns
"""CPU time of this process, all threads: work, never part of the exposed ledger."""

thread_cpu_ns: ReadNs = time.thread_time_ns
"""CPU time of the thread that asks."""


def calendar_now() -> datetime.datetime:
    """Return date and time in UTC: for names and labels, never for durations."""
    import datetime  # not at the top: every process that a recorder enters imports this file

    return datetime.datetime.now(tz=datetime.timezone.utc)  # noqa: UP017 - recorders run on 3.9


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

    def record(self) -> None:
        """Put the event into the compute stream once more; its former stamp is lost."""

    def elapsed_ns(self, later: Any) -> int:
        """Return the device time from this event to a later one, both reached."""


class DeviceClock(Protocol):
    """What the device ledger needs to know of a device."""

    def record(self) -> DeviceEvent:
        """Put a new event into the compute stream without waiting for it."""

    def wait(self) -> None:
        """Block the host until the device has done all it was given."""


class FakeDeviceEvent:
    """An event of ``FakeDeviceClock``; as on CUDA, one not reached yet cannot be read."""

    def __init__(self, device: FakeDeviceClock) -> None:
        self._device = device
        self.record()

    def record(self) -> None:
        """Take the time at which the stream, as queued now, gets here."""
        self.reached_ns = max(self._device.host.now_ns, self._device.idle_from_ns)

    def elapsed_ns(self, later: FakeDeviceEvent) -> int:
        """Return device nanoseconds from this event to a later one.

        Raises:
            RuntimeError: The device has not reached the later one.
        """
        if later.reached_ns > self._device.host.now_ns:
            raise RuntimeError("the device has not reached this event: wait first")
        return later.reached_ns - self.reached_ns


class FakeDeviceClock:
    """A device with one stream, in order, that works while a fake host clock moves."""

    def __init__(self, host: FakeClock) -> None:
        self.host = host
        self.idle_from_ns = host.now_ns
        self.num_waits = 0

    def launch(self, duration_ns: int) -> None:
        """Queue work: it starts when the stream is free, and the host goes on at once."""
        self.idle_from_ns = max(self.host.now_ns, self.idle_from_ns) + duration_ns

    def record(self) -> FakeDeviceEvent:
        """Put an event into the stream."""
        return FakeDeviceEvent(self)

    def wait(self) -> None:
        """Move the host clock to where the stream is drained, and count the wait."""
        self.num_waits += 1
        self.host.advance_ns(max(0, self.idle_from_ns - self.host.now_ns))


class CudaEvent:
    """One timing event on a device's current CUDA stream (resolution about 0.5 us)."""

    def __init__(self, device: Any) -> None:
        import torch

        self._device = device
        self._current_stream = torch.cuda.current_stream
        self._event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self.record()

    def record(self) -> None:
        """Put the event into the stream; to use one again is cheaper than to make one."""
        # Without a stream torch takes the current device's, which need not be the timed one.
        self._event.record(self._current_stream(self._device))

    def elapsed_ns(self, later: CudaEvent) -> int:
        """Return device nanoseconds from this event to a later one, both reached.

        CUDA answers in float32 milliseconds: exact to 8 ns at 100 ms and to 60 ns at one
        second, so sum short intervals rather than measure a long one.
        """
        milliseconds: float = self._event.elapsed_time(later._event)
        return round(milliseconds * 1e6)


class CudaClock:
    """Events and waits of one CUDA device."""

    def __init__(self, device: Any) -> None:
        self._device = device

    def record(self) -> CudaEvent:
        """Put a new event into the current stream of the device."""
        return CudaEvent(self._device)

    def wait(self) -> None:
        """Block until every stream of the device is drained."""
        import torch

        torch.cuda.synchronize(self._device)


def device_wait(device: str) -> Callable[[], None]:
    """Return a function that blocks until the device is idle; on a CPU it returns at once."""
    import torch

    if device.startswith("cuda"):
        return partial(torch.cuda.synchronize, device)
    if device == "mps":
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
