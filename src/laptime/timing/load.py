"""CPU time of the machine and of some processes, as Linux counts it; elsewhere nothing is known."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from laptime.timing.clock import ReadNs

ReadProc = Callable[[str], str]
"""Returns the text of a file of the kernel; raises OSError where there is none."""

# USER_HZ, not the kernel's own tick: 100 on every architecture that torch is built for.
_TICK_NS = 10_000_000

# Places in a CPU's line of /proc/stat: user nice system idle iowait irq softirq steal. What
# follows, guest time, is part of user and nice already.
_NUM_FIELDS = 8
_BUSY = (0, 1, 2, 5, 6)
_STEAL = 7


@dataclass(frozen=True)
class ProcessTicks:
    """CPU time of one process, all its threads, in ticks."""

    started: int
    """Since boot. With the pid it names a process: pids are used again."""
    parent: int
    own: int
    reaped: int
    """Whole lives of those children that have ended and that it has waited for."""


@dataclass(frozen=True)
class Counters:
    """What the kernel has counted since it started, at one moment."""

    at_ns: int
    cpus: Mapping[int, tuple[int, ...]] | None
    """Ticks by number of CPU; None when one that was asked for is missing."""
    study: ProcessTicks | None
    """The process that reads them, which waits while an arm has its turn."""
    processes: Mapping[int, ProcessTicks]
    pressure_us: int | None
    """How long some task has waited for a CPU."""


def read_text(path: str) -> str:
    """Read a file of the kernel."""
    return Path(path).read_text(errors="replace")


def allowed_cpus() -> frozenset[int]:
    """Return the numbers of the CPUs that this process may use; empty where that is not said."""
    ask = getattr(os, "sched_getaffinity", None)
    return frozenset(ask(0)) if ask else frozenset()


def read_counters(
    read_proc: ReadProc, cpus: frozenset[int], pids: Collection[int], clock: ReadNs
) -> Counters:
    """Read all counters at about one moment; what cannot be read is missing, never an error.

    The clock is read beside the CPUs' counters, in the same order each time, so that what the
    reading itself takes is in the interval once, as in the counters.
    """
    study_pid = os.getpid()
    processes = {pid: _read_process(read_proc, pid) for pid in pids if pid != study_pid}
    return Counters(
        at_ns=clock(),
        cpus=_read_cpus(read_proc, cpus),
        study=_read_process(read_proc, study_pid),
        processes={pid: ticks for pid, ticks in processes.items() if ticks is not None},
        pressure_us=_read_pressure_us(read_proc),
    )


def read_clock_mhz(read_proc: ReadProc, cpus: frozenset[int]) -> float | None:
    """Return the highest clock among the CPUs, in MHz; None where the kernel tells none.

    Not the mean: idle CPUs lower their clocks, and how many are idle depends on the arm.
    """
    folder = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    texts = [_read(read_proc, folder.format(cpu)) for cpu in cpus]
    clocks_khz = [int(text) for text in texts if text.strip().isdecimal()]
    return max(clocks_khz) / 1e3 if clocks_khz else None


def foreign_cores(before: Counters, after: Counters) -> float | None:
    """Return how many CPUs, on average, ran something other than the study and its processes."""
    busy = _spent(before, after, _BUSY)
    wall_ns = after.at_ns - before.at_ns
    if busy is None or before.study is None or after.study is None or wall_ns <= 0:
        return None
    # What the study itself reaps is left out: an arm that dies while it is paused would bring
    # its whole life into another arm's turn.
    study = _own_ticks(before.study, after.study)
    own = study + _ticks_of(before.processes, after.processes)
    return max(0, busy - own) * _TICK_NS / wall_ns


def steal(before: Counters, after: Counters) -> float | None:
    """Return the share of CPU time that the hypervisor gave to others."""
    stolen = _spent(before, after, (_STEAL,))
    total = _spent(before, after, range(_NUM_FIELDS))
    return stolen / total if stolen is not None and total else None


def pressure(before: Counters, after: Counters) -> float | None:
    """Return the share of the time in which some task waited for a CPU, ours or not."""
    wall_ns = after.at_ns - before.at_ns
    if before.pressure_us is None or after.pressure_us is None or wall_ns <= 0:
        return None
    waited_ns = (after.pressure_us - before.pressure_us) * 1000
    return min(1.0, max(0, waited_ns) / wall_ns)


def _spent(before: Counters, after: Counters, fields: Collection[int]) -> int | None:
    """Return the ticks that all CPUs together spent in the fields.

    Each counter is taken for itself: idle, iowait and steal may go back, and one that does
    must not eat what another has gained.
    """
    if before.cpus is None or after.cpus is None:
        return None
    return sum(
        max(0, after.cpus[cpu][field] - ticks[field])
        for cpu, ticks in before.cpus.items()
        for field in fields
    )


def _own_ticks(before: ProcessTicks, after: ProcessTicks) -> int:
    return max(0, after.own - before.own)


def _ticks_of(before: Mapping[int, ProcessTicks], after: Mapping[int, ProcessTicks]) -> int:
    """Return the ticks that processes and the children they reaped have spent meanwhile.

    A child that ended, a loader's worker, is found in what its parent has reaped, with its
    whole life: what was known of it before is taken off. One that another process reaped
    counts what was last known, which adds nothing.
    """
    ticks = 0
    for pid, then in before.items():
        now = after.get(pid)
        if now is None or not _same(then, now):
            continue
        ended = [
            child
            for number, child in before.items()
            if child.parent == pid and not _same(child, after.get(number))
        ]
        known = sum(child.own + child.reaped for child in ended)
        ticks += _own_ticks(then, now) + max(0, now.reaped - then.reaped - known)
    return ticks


def _same(process: ProcessTicks, other: ProcessTicks | None) -> bool:
    return other is not None and process.started == other.started


def _read(read_proc: ReadProc, path: str) -> str:
    try:
        return read_proc(path)
    except OSError:
        return ""


def _read_cpus(read_proc: ReadProc, cpus: frozenset[int]) -> dict[int, tuple[int, ...]] | None:
    found: dict[int, tuple[int, ...]] = {}
    for line in _read(read_proc, "/proc/stat").splitlines():
        name, *words = line.split() or [""]
        number = name.removeprefix("cpu")
        ticks = _whole_numbers(words[:_NUM_FIELDS])
        if name.startswith("cpu") and number.isdecimal() and len(ticks) == _NUM_FIELDS:
            found[int(number)] = ticks
    # Part of the CPUs would be too little busy time: rather none.
    return {cpu: found[cpu] for cpu in cpus} if cpus and cpus <= found.keys() else None


def _read_process(read_proc: ReadProc, pid: int) -> ProcessTicks | None:
    # A program's name may hold spaces and brackets: count from the last closing one.
    words = _read(read_proc, f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(words) < 20:
        return None
    numbers = _whole_numbers([words[i] for i in (1, 11, 12, 13, 14, 19)])
    if len(numbers) < 6:
        return None
    parent, user, system, reaped_user, reaped_system, started = numbers
    return ProcessTicks(started, parent, user + system, reaped_user + reaped_system)


def _read_pressure_us(read_proc: ReadProc) -> int | None:
    for line in _read(read_proc, "/proc/pressure/cpu").splitlines():
        kind, _, rest = line.partition(" ")
        total = rest.rpartition("total=")[2].strip()
        if kind == "some" and "total=" in rest and total.isdecimal():
            return int(total)
    return None


def _whole_numbers(words: list[str]) -> tuple[int, ...]:
    """Return the words as numbers, or nothing when one of them is none."""
    return tuple(map(int, words)) if all(word.isdecimal() for word in words) else ()
