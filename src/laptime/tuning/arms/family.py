"""A command's processes: all that it has started, to be counted as its own and ended with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection

import psutil

from laptime.replicate import NoiseRecord
from laptime.timing.clock import read_ns
from laptime.timing.noise import NoiseMeter, Reading
from laptime.units import seconds


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that descends from it, as far as it lives."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def kill(processes: Collection[psutil.Process]) -> None:
    """Kill those of some processes that still live; psutil tells a number that is used again."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def resident_bytes(processes: Collection[psutil.Process]) -> int:
    """Return the memory of some processes."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


class FamilyMeter:
    """Watch the machine beside turns in which processes are born.

    A script starts its loader's workers anew with every epoch. Those that were not there when a
    turn began are its own all the same: what they have used is taken off the foreign load.

    Args:
        meter: Which watches all the rest.
        cpu_s_of: Returns the CPU time of the descendants of a process, by number.
    """

    def __init__(
        self, meter: NoiseMeter, cpu_s_of: Callable[[int], dict[int, float]] | None = None
    ) -> None:
        self._meter, self._cpu_s_of = meter, cpu_s_of or _cpu_s
        self._root = 0

    def before(self, pids: Collection[int]) -> Reading:
        """Read the machine before a turn; the first of the processes has started the others."""
        self._root = next(iter(pids), 0)
        return self._meter.before(pids)

    def after(self, reading: Reading) -> NoiseRecord:
        """Return what happened since."""
        spent_s = seconds(read_ns() - reading.counters.at_ns)
        noise = self._meter.after(reading)
        if not noise.foreign_cores or spent_s <= 0:
            return noise
        born = self._cpu_s_of(self._root)
        own_s = sum(cpu_s for pid, cpu_s in born.items() if pid not in reading.pids)
        foreign = max(0.0, noise.foreign_cores - own_s / spent_s)
        return noise.model_copy(update={"foreign_cores": foreign})


def _cpu_s(root: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for process in family(root):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found
