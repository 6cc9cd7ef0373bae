"""Planted costs on this machine, in half a minute: does laptime measure truly here?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from laptime.studies.planted import Comparison, Planted, compare, run_planted
from laptime.timing.overhead import measure_step_overhead_ns
from laptime.timing.timers import build_timer

SHORT = (
    Planted("sleeping", dataset_s=0.04),
    Planted("sleeping", 0.04, 0.02, 0.04, 0.01),
    Planted("busy", forward_s=0.04),
    Planted("busy", 0.04, 0.02, 0.04, 0.01),
    Planted("memory", backward_s=0.04),
    Planted("memory", optimizer_s=0.04),
    Planted("sleeping", 0.24, 0.02, 0.04, 0.02, num_workers=2, steps=8),
    Planted("sleeping", 0.01, 0.02, 0.04, 0.02, num_workers=1, steps=8),
)
"""The configurations that a user's machine is tried with."""

OVERHEAD_LIMIT_US = 20.0


@dataclass(frozen=True)
class Selftest:
    """What was planted and found, and what the bookkeeping costs."""

    comparisons: tuple[Comparison, ...]
    configurations: int
    per_step_us: float

    @property
    def missed(self) -> tuple[Comparison, ...]:
        """Comparisons outside of their tolerance."""
        return tuple(c for c in self.comparisons if not c.holds)

    @property
    def passed(self) -> bool:
        """Whether every planted cost was found and the bookkeeping is cheap enough."""
        return not self.missed and self.per_step_us <= OVERHEAD_LIMIT_US


def run_selftest(
    configurations: Iterable[Planted] = SHORT,
    on_configuration: Callable[[Planted, list[Comparison]], None] = lambda planted, found: None,  # noqa: ARG005
) -> Selftest:
    """Run each configuration and a control without cost; compare what was found with the truth.

    Takes about 15 s with the default configurations.
    """
    chosen = tuple(configurations)
    comparisons: list[Comparison] = []
    with tempfile.TemporaryDirectory(prefix="laptime-selftest-") as scratch:
        # The first training of a process pays for what torch loads late: it is not compared.
        run_planted(Planted("sleeping"), Path(scratch) / "warm-up")
        for number, planted in enumerate(chosen):
            found = compare(planted, Path(scratch) / str(number))
            on_configuration(planted, found)
            comparisons += found
    overhead_ns = measure_step_overhead_ns(lambda: build_timer("host", "cpu")[1])
    return Selftest(tuple(comparisons), len(chosen), overhead_ns / 1e3)
