"""What the machine did beside a turn: a sentinel, foreign load, steal, waiting, clocks.

Contamination is relative: a turn is compared with the other turns of its round, because a
shared machine that is slow all the time is slow for every arm.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from laptime.replicate import NoiseRecord
from laptime.timing.clock import ReadNs, read_ns
from laptime.timing.load import (
    Counters,
    ReadProc,
    allowed_cpus,
    foreign_cores,
    pressure,
    read_clock_mhz,
    read_counters,
    read_text,
    steal,
)
from laptime.units import nanoseconds

REUSABLE_NS = 5_000_000_000
"""A sentinel's reading older than this says nothing about the turn that begins."""

_PROBE_REPETITIONS = 20_000
_NUM_PROBES = 12

Work = Callable[[int], object]
"""Does the same thing so many times over, on one thread."""


def hash_repeatedly(repetitions: int) -> bytes:
    """Hash a few bytes so often, in one call: no interpreter, no memory beyond the first cache."""
    return hashlib.pbkdf2_hmac("sha256", b"laptime" * 4, b"sentinel" * 2, repetitions)


class Sentinel:
    """Run a fixed piece of work on one thread, to see how fast the machine is just now.

    It loses time to whoever shares its CPU, to the hypervisor and to a lower clock. It does not
    see rivals for memory bandwidth, nor, where a CPU is free, a program that uses another one.

    Args:
        repetitions: How often the work is done. A study keeps the number in its plan, so that
            readings after a resume compare with those before.
    """

    def __init__(
        self, repetitions: int, *, work: Work = hash_repeatedly, clock: ReadNs = read_ns
    ) -> None:
        if repetitions < 1:
            raise ValueError(
                f"repetitions is {repetitions}, but must be 1 or more: use Sentinel.calibrated()"
            )
        self.repetitions = repetitions
        self._work = work
        self._clock = clock

    @classmethod
    def calibrated(
        cls, target_s: float = 0.06, *, work: Work = hash_repeatedly, clock: ReadNs = read_ns
    ) -> Sentinel:
        """Return a sentinel that takes about so many seconds on this machine, undisturbed.

        The fastest of a few short probes counts: the others were disturbed, or paid for the
        first call and a clock that had yet to rise.
        """
        probe = cls(_PROBE_REPETITIONS, work=work, clock=clock)
        fastest_ns = min(probe.measure_ns() for _ in range(_NUM_PROBES))
        repetitions = round(nanoseconds(target_s) * _PROBE_REPETITIONS / fastest_ns)
        return cls(max(1, repetitions), work=work, clock=clock)

    def measure_ns(self) -> int:
        """Run it and return the wall time that it took, at least 1 ns."""
        start_ns = self._clock()
        self._work(self.repetitions)
        return max(1, self._clock() - start_ns)


@dataclass(frozen=True)
class SentinelReading:
    """One run of the sentinel."""

    took_ns: int
    ended_ns: int
    clock_mhz: float | None
    """Right after it: its load is always the same, an arm's is not."""


@dataclass(frozen=True)
class Reading:
    """The machine before a turn."""

    sentinel: SentinelReading
    counters: Counters
    pids: tuple[int, ...]


class NoiseMeter:
    """Read what the machine does around and during a turn.

    In time: sentinel, counters, **turn**, counters, sentinel. The sentinels lie outside of the
    interval that the counters span, so that their CPU time is neither own nor foreign in it.
    Own are the process that calls this, the processes named, and the children that these reap.
    Everything else on the CPUs that this process may use is foreign, the kernel's own threads
    and interrupts included.

    Linux counts in ticks of 10 ms: in half a second each process named may be wrong by 0.02
    CPUs, at random. Where there is no /proc, all but the sentinels is None.

    Args:
        sentinel: The one of this study.
        cpus: Numbers of the CPUs that are looked at; None: those that this process may use.
    """

    def __init__(
        self,
        sentinel: Sentinel,
        cpus: frozenset[int] | None = None,
        read_proc: ReadProc = read_text,
        *,
        clock: ReadNs = read_ns,
    ) -> None:
        self._sentinel = sentinel
        self._cpus = allowed_cpus() if cpus is None else cpus
        self._read_proc = read_proc
        self._clock = clock
        self._last: SentinelReading | None = None

    def before(self, pids: Collection[int], *, fresh: bool = False) -> Reading:
        """Read the machine; call it when every arm is paused, then let the arm go.

        The sentinel that ended the turn before serves again if it is at most 5 s old: N turns
        in a row take N + 1 sentinels.

        Args:
            pids: The arm whose turn it is and its loader's workers.
            fresh: Run the sentinel in any case.
        """
        recent = None if fresh else self._recent()
        # Used once: if this turn fails, the next one must not rest on what lies before it.
        self._last = None
        sentinel = recent or self._run_sentinel()
        own = tuple(pids)
        return Reading(sentinel, self._counters(own), own)

    def after(self, reading: Reading) -> NoiseRecord:
        """Return what happened since; call it as soon as the arm is paused again.

        A worker that the arm started meanwhile is own only once the arm has reaped it.
        """
        then, now = reading.counters, self._counters(reading.pids)
        sentinel = self._last = self._run_sentinel()
        beside = (reading.sentinel.clock_mhz, sentinel.clock_mhz)
        clocks = [clock_mhz for clock_mhz in beside if clock_mhz is not None]
        return NoiseRecord(
            sentinel_before_ns=reading.sentinel.took_ns,
            sentinel_after_ns=sentinel.took_ns,
            foreign_cores=foreign_cores(then, now),
            steal=steal(then, now),
            pressure=pressure(then, now),
            clock_mhz=fmean(clocks) if clocks else None,
        )

    def _recent(self) -> SentinelReading | None:
        last = self._last
        return last if last and self._clock() - last.ended_ns <= REUSABLE_NS else None

    def _run_sentinel(self) -> SentinelReading:
        took_ns = self._sentinel.measure_ns()
        clock_mhz = read_clock_mhz(self._read_proc, self._cpus)
        return SentinelReading(took_ns, self._clock(), clock_mhz)

    def _counters(self, pids: Collection[int]) -> Counters:
        return read_counters(self._read_proc, self._cpus, pids, self._clock)


@dataclass(frozen=True)
class Thresholds:
    """Where noise ends and contamination begins."""

    foreign_cores: float = 0.25
    sentinel_log_ratio: float = 0.28
    """To the usual sentinel of the round, in either direction; 0.28 is about a third more."""
    clock_share: float = 0.05
    """Of the slower arm's clock."""


QUIET = Thresholds()
"""From benchmarks/results/quiet_machine.json: undisturbed, at most 5 % of its turns are flagged.

Most of these have one sentinel that took half as long again while nothing else ran in the VM.
"""


def contamination_reason(
    noise: NoiseRecord, usual_sentinel_ns: float, thresholds: Thresholds = QUIET
) -> str | None:
    """Return why a turn does not count, or None when it does.

    Args:
        noise: What was read beside and during the turn.
        usual_sentinel_ns: The sentinel beside the other turns of the round.
        thresholds: Where noise ends.
    """
    foreign = noise.foreign_cores
    if foreign is not None and foreign > thresholds.foreign_cores:
        return f"other programs used {foreign:.2f} CPUs meanwhile"
    log_ratio = math.log(max(1.0, noise.sentinel_ns) / max(1.0, usual_sentinel_ns))
    if abs(log_ratio) > thresholds.sentinel_log_ratio:
        return f"the sentinel took {math.exp(log_ratio):.2f} times as long as in the round"
    return None


def is_contaminated(
    noise: NoiseRecord, usual_sentinel_ns: float, thresholds: Thresholds = QUIET
) -> bool:
    """Return whether a turn was disturbed more than the other turns of its round."""
    return contamination_reason(noise, usual_sentinel_ns, thresholds) is not None


def usual_sentinel_ns(noises: Sequence[NoiseRecord]) -> float:
    """Return the median over the turns of a round, in logarithms: of two, the geometric mean."""
    return math.exp(median(math.log(max(1.0, noise.sentinel_ns)) for noise in noises))


def flag_round(noises: Sequence[NoiseRecord], thresholds: Thresholds = QUIET) -> list[bool]:
    """Return for each turn of one round, one an arm, whether it is contaminated.

    A machine that is slow during the whole round is slow for every arm and flags none; foreign
    load flags every turn that it meets.
    """
    if not noises:
        return []
    usual_ns = usual_sentinel_ns(noises)
    return [is_contaminated(noise, usual_ns, thresholds) for noise in noises]


def throttled(arms: Iterable[Sequence[NoiseRecord]], thresholds: Thresholds = QUIET) -> bool:
    """Return whether the mean clock differs between arms: one sequence of turns for each.

    Turns without a readable clock are left out, and so are arms that have none.
    """
    means = [
        fmean(clocks)
        for noises in arms
        if (clocks := [n.clock_mhz for n in noises if n.clock_mhz is not None])
    ]
    return len(means) > 1 and max(means) > min(means) * (1 + thresholds.clock_share)
