from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from laptime.replicate import NoiseRecord
from laptime.timing.clock import FakeClock, sleep_s
from laptime.timing.noise import (
    QUIET,
    REUSABLE_NS,
    NoiseMeter,
    Sentinel,
    Thresholds,
    contamination_reason,
    flag_round,
    hash_repeatedly,
    is_contaminated,
    throttled,
    usual_sentinel_ns,
)

TICK_NS = 10_000_000
SENTINEL_NS = 6 * TICK_NS
ARM = 11


class Machine:
    """Two CPUs, the study, one arm and others; it moves on when told to."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.busy_ticks = [0, 0]
        self.study_ticks = 0
        self.arm_ticks = 0
        self.waited_us = 0
        self.clock_khz = 2_600_000
        self.sentinel_ns = SENTINEL_NS
        self.num_sentinels = 0
        self.hidden: set[str] = set()
        self.seen: list[str] = []

    def meter(self) -> NoiseMeter:
        sentinel = Sentinel(1, work=self.run_sentinel, clock=self.clock.read_ns)
        return NoiseMeter(sentinel, frozenset({0, 1}), self.read, clock=self.clock.read_ns)

    def run_sentinel(self, repetitions: int) -> None:
        """Use the study's CPU time, as the real one does."""
        self.seen.append("sentinel")
        self.num_sentinels += 1
        self.clock.advance_ns(self.sentinel_ns)
        self.busy_ticks[0] += self.sentinel_ns // TICK_NS
        self.study_ticks += self.sentinel_ns // TICK_NS

    def run(self, ticks: int, *, arm: int = 0, study: int = 0, others: int = 0) -> None:
        """Let time pass in which each uses so many ticks of CPU time."""
        self.clock.advance_ns(ticks * TICK_NS)
        self.arm_ticks += arm
        self.study_ticks += study
        self.busy_ticks[0] += arm + study
        self.busy_ticks[1] += others
        self.waited_us += others * 1000

    def read(self, path: str) -> str:
        text = self._texts().get(path)
        if text is None or path in self.hidden:
            raise FileNotFoundError(path)
        self.seen.append(path)
        return text

    def _texts(self) -> dict[str, str]:
        idle = [self.clock.now_ns // TICK_NS - busy for busy in self.busy_ticks]
        lines = [
            f"cpu{n} {busy} 0 0 {idle[n]} 0 0 0 0 0 0" for n, busy in enumerate(self.busy_ticks)
        ]
        folder = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
        return {
            "/proc/stat": "\n".join(lines),
            "/proc/pressure/cpu": f"some avg10=0.00 total={self.waited_us}\n",
            f"/proc/{os.getpid()}/stat": self._process(os.getpid(), self.study_ticks),
            f"/proc/{ARM}/stat": self._process(ARM, self.arm_ticks),
            folder.format(0): f"{self.clock_khz}\n",
            folder.format(1): "800000\n",
        }

    def _process(self, pid: int, ticks: int) -> str:
        return f"{pid} (python) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 77 0 0\n"


@pytest.fixture
def machine() -> Machine:
    return Machine()


def work_of(clock: FakeClock, *each_ns: int) -> Callable[[int], None]:
    """Return work of which a repetition takes so long; the last one goes on for ever."""
    waiting = list(each_ns)

    def work(repetitions: int) -> None:
        clock.advance_ns(repetitions * (waiting.pop(0) if len(waiting) > 1 else waiting[0]))

    return work


def test_a_sentinel_is_calibrated_to_the_time_asked_for() -> None:
    clock = FakeClock()

    sentinel = Sentinel.calibrated(0.06, work=work_of(clock, 200), clock=clock.read_ns)

    assert sentinel.repetitions == 300_000
    assert sentinel.measure_ns() == 60_000_000


def test_probes_that_were_disturbed_do_not_shorten_the_sentinel() -> None:
    clock = FakeClock()
    work = work_of(clock, 900, 350, 200, 700, 210)

    assert Sentinel.calibrated(0.06, work=work, clock=clock.read_ns).repetitions == 300_000


def test_a_sentinel_does_the_same_for_ever_however_long_it_takes() -> None:
    clock, done = FakeClock(), []

    def work(repetitions: int) -> None:
        done.append(repetitions)
        clock.advance_ns(len(done) * 1000)

    resumed = Sentinel(4321, work=work, clock=clock.read_ns)

    assert [resumed.measure_ns() for _ in range(3)] == [1000, 2000, 3000]
    assert done == [4321] * 3


def test_a_clock_that_stands_still_breaks_no_sentinel() -> None:
    clock = FakeClock()
    sentinel = Sentinel.calibrated(1e-12, work=work_of(clock, 0), clock=clock.read_ns)

    assert (sentinel.repetitions, sentinel.measure_ns()) == (1, 1)


@pytest.mark.parametrize("repetitions", [0, -3])
def test_a_sentinel_that_does_nothing_is_refused(repetitions: int) -> None:
    with pytest.raises(ValueError, match=rf"repetitions is {repetitions}, .*calibrated"):
        Sentinel(repetitions)


def test_the_sentinels_work_depends_on_the_repetitions_alone() -> None:
    assert hash_repeatedly(2) == hash_repeatedly(2) != hash_repeatedly(3)


def test_the_sentinels_lie_just_outside_of_what_the_counters_span(machine: Machine) -> None:
    meter = machine.meter()
    reading = meter.before([ARM])
    machine.seen.append("turn")
    machine.run(50)
    meter.after(reading)

    seen = [what for what in machine.seen if what in {"sentinel", "turn", "/proc/stat"}]
    assert seen == ["sentinel", "/proc/stat", "turn", "/proc/stat", "sentinel"]


def test_the_sentinels_own_time_is_neither_own_nor_foreign(machine: Machine) -> None:
    meter = machine.meter()
    first = meter.before([ARM])
    machine.run(50, arm=50, others=20)
    noise = meter.after(first)
    second = meter.before([ARM])
    machine.run(50, arm=10, study=5)

    assert (noise.foreign_cores, noise.steal) == (0.4, 0.0)
    assert meter.after(second).foreign_cores == 0.0
    assert machine.study_ticks == 5 + 3 * SENTINEL_NS // TICK_NS


def test_a_turn_tells_all_that_was_read(machine: Machine) -> None:
    meter = machine.meter()
    reading = meter.before([ARM])
    machine.run(100, arm=90, others=30)
    machine.sentinel_ns *= 2
    machine.clock_khz = 2_000_000

    assert meter.after(reading) == NoiseRecord(
        sentinel_before_ns=SENTINEL_NS,
        sentinel_after_ns=2 * SENTINEL_NS,
        foreign_cores=0.3,
        steal=0.0,
        pressure=0.03,
        clock_mhz=2300.0,
    )


def test_without_proc_the_sentinels_remain(machine: Machine) -> None:
    def read(path: str) -> str:
        raise FileNotFoundError(path)

    sentinel = Sentinel(1, work=machine.run_sentinel, clock=machine.clock.read_ns)
    meter = NoiseMeter(sentinel, None, read, clock=machine.clock.read_ns)
    reading = meter.before([ARM])
    machine.run(50)

    assert meter.after(reading) == NoiseRecord(
        sentinel_before_ns=SENTINEL_NS, sentinel_after_ns=SENTINEL_NS
    )


def test_an_arm_that_vanishes_in_its_turn_ends_no_study(machine: Machine) -> None:
    meter = machine.meter()
    reading = meter.before([ARM])
    machine.run(50, arm=30, others=10)
    machine.hidden.add(f"/proc/{ARM}/stat")

    assert meter.after(reading).foreign_cores == 0.8


def take_turns(machine: Machine, meter: NoiseMeter, count: int, **options: Any) -> None:
    for _ in range(count):
        reading = meter.before([ARM], **options)
        machine.run(50)
        meter.after(reading)


def test_so_many_turns_in_a_row_take_one_sentinel_more(machine: Machine) -> None:
    take_turns(machine, machine.meter(), 10)

    assert machine.num_sentinels == 11


def test_a_fresh_sentinel_runs_when_asked_for(machine: Machine) -> None:
    take_turns(machine, machine.meter(), 10, fresh=True)

    assert machine.num_sentinels == 20


@pytest.mark.parametrize(("late_ns", "count"), [(0, 3), (1, 4)])
def test_a_sentinel_serves_twice_for_five_seconds(
    machine: Machine, late_ns: int, count: int
) -> None:
    meter = machine.meter()
    take_turns(machine, meter, 1)
    machine.clock.advance_ns(REUSABLE_NS + late_ns)
    take_turns(machine, meter, 1)

    assert machine.num_sentinels == count


def test_after_a_turn_that_failed_the_sentinel_runs_anew(machine: Machine) -> None:
    meter = machine.meter()
    take_turns(machine, meter, 1)
    meter.before([ARM])
    machine.run(50)
    take_turns(machine, meter, 1)

    assert machine.num_sentinels == 4


def noise(
    sentinel_ratio: float = 1.0, foreign: float | None = 0.0, clock_mhz: float | None = None
) -> NoiseRecord:
    took_ns = round(SENTINEL_NS * sentinel_ratio)
    return NoiseRecord(
        sentinel_before_ns=took_ns,
        sentinel_after_ns=took_ns,
        foreign_cores=foreign,
        clock_mhz=clock_mhz,
    )


BEYOND = math.exp(QUIET.sentinel_log_ratio) * 1.01
WITHIN = math.exp(QUIET.sentinel_log_ratio) / 1.01


@pytest.mark.parametrize(
    ("foreign", "flagged"), [(None, False), (0.0, False), (0.25, False), (0.26, True), (2.0, True)]
)
def test_foreign_load_above_the_threshold_flags_a_turn(
    foreign: float | None, flagged: bool
) -> None:
    assert is_contaminated(noise(foreign=foreign), SENTINEL_NS) is flagged


@pytest.mark.parametrize(
    ("ratio", "flagged"),
    [(1.0, False), (WITHIN, False), (1 / WITHIN, False), (BEYOND, True), (1 / BEYOND, True)],
)
def test_a_sentinel_that_leaves_the_zone_on_either_side_flags_a_turn(
    ratio: float, flagged: bool
) -> None:
    assert flag_round([noise(), noise(ratio), noise()]) == [False, flagged, False]


def test_the_mean_of_both_sentinels_decides() -> None:
    one_slow = NoiseRecord(
        sentinel_before_ns=SENTINEL_NS, sentinel_after_ns=round(1.5 * SENTINEL_NS)
    )
    both_slow = noise(1.5)

    assert flag_round([one_slow, noise(), noise()]) == [False] * 3
    assert flag_round([both_slow, noise(), noise()]) == [True, False, False]


def test_two_hogs_on_two_cores_are_flagged() -> None:
    hogs = noise(2.0, foreign=1.0)

    assert flag_round([noise(), hogs, noise()]) == [False, True, False]
    assert flag_round([hogs, hogs, hogs]) == [True] * 3


def test_two_hogs_on_two_cores_are_flagged_by_the_sentinel_where_load_cannot_be_read() -> None:
    assert flag_round([noise(foreign=None), noise(2.0, foreign=None), noise(foreign=None)]) == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("ratio", [0.5, 1.7, 10.0])
def test_a_round_in_which_all_sentinels_are_slow_together_flags_nothing(ratio: float) -> None:
    assert flag_round([noise(ratio * drift) for drift in (1.0, 1.03, 0.98, 1.05)]) == [False] * 4


def test_of_two_arms_that_differ_both_are_flagged() -> None:
    # Nobody knows which of the two was usual.
    assert flag_round([noise(), noise(BEYOND)]) == [False] * 2
    assert flag_round([noise(), noise(BEYOND**2)]) == [True] * 2


def test_one_arm_has_nothing_to_be_compared_with() -> None:
    assert flag_round([noise(5.0)]) == [False]
    assert flag_round([noise(foreign=0.5)]) == [True]
    assert flag_round([]) == []


def test_the_usual_sentinel_is_the_median_of_the_round() -> None:
    assert usual_sentinel_ns([noise(1.0), noise(9.0), noise(1.1)]) == pytest.approx(
        1.1 * SENTINEL_NS
    )
    assert usual_sentinel_ns([noise(1.0), noise(4.0)]) == pytest.approx(2 * SENTINEL_NS)


def test_a_sentinel_that_was_not_read_flags_without_an_error() -> None:
    assert flag_round([noise(0.0), noise(), noise()]) == [True, False, False]


def test_thresholds_may_be_others() -> None:
    strict = Thresholds(foreign_cores=0.1, sentinel_log_ratio=0.02)

    assert flag_round([noise(1.03), noise(), noise(foreign=0.2)], strict) == [True, False, True]


@pytest.mark.parametrize(
    ("disturbed", "reason"),
    [
        (noise(), None),
        (noise(1.5, foreign=0.834), "other programs used 0.83 CPUs meanwhile"),
        (noise(1.5), "the sentinel took 1.50 times as long as in the round"),
        (noise(0.5, foreign=None), "the sentinel took 0.50 times as long as in the round"),
    ],
)
def test_the_reason_says_what_was_seen(disturbed: NoiseRecord, reason: str | None) -> None:
    assert contamination_reason(disturbed, SENTINEL_NS) == reason


@pytest.mark.parametrize(
    ("clocks", "differ"),
    [
        ([[2600.0, 2600.0], [2600.0, 2500.0]], False),
        ([[2600.0, 2600.0], [2400.0, 2420.0]], True),
        ([[2600.0], [2600.0], [3000.0]], True),
        ([[1000.0, 3000.0], [3000.0, 1000.0]], False),
        ([[2600.0, None], [None, 2590.0]], False),
        ([[2600.0], [None, None]], False),
        ([[2600.0], []], False),
        ([], False),
    ],
)
def test_arms_whose_mean_clocks_differ_by_more_than_a_twentieth_were_throttled(
    clocks: list[list[float | None]], differ: bool
) -> None:
    arms = [[noise(clock_mhz=clock_mhz) for clock_mhz in some] for some in clocks]

    assert throttled(arms) is differ


@pytest.fixture(scope="module")
def recording() -> dict[str, Any]:
    """Return what benchmarks/quiet_machine.py has stored."""
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    found: dict[str, Any] = json.loads((results / "quiet_machine.json").read_text())
    return found


def test_the_threshold_in_use_is_no_lower_than_the_stored_recording_asks_for(
    recording: dict[str, Any],
) -> None:
    assert recording["sentinel_log_ratio_in_use"] == QUIET.sentinel_log_ratio
    assert QUIET.sentinel_log_ratio >= recording["lowest_sentinel_log_ratio"]


@pytest.mark.parametrize("size", range(2, 9))
def test_at_most_a_twentieth_of_the_turns_of_a_quiet_machine_is_flagged(
    recording: dict[str, Any], size: int
) -> None:
    readings = {name: values for name, values in recording["readings"].items() if name != "arm"}
    rows = zip(*readings.values(), strict=True)
    noises = [NoiseRecord(**dict(zip(readings, row, strict=True))) for row in rows]
    starts = range(0, len(noises) - size + 1, size)
    flags = [flag for start in starts for flag in flag_round(noises[start : start + size])]

    assert recording["quiet"]
    assert len(flags) >= 190
    assert sum(flags) <= 0.05 * len(flags)


@pytest.fixture
def hogs() -> Iterator[list[int]]:
    """Yield the pids of two busy processes, stopped."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no /proc to read load from")
def test_busy_loops_are_seen_as_foreign_load_unless_they_are_the_arms_own(hogs: list[int]) -> None:
    meter = NoiseMeter(Sentinel.calibrated())

    def foreign_of(pids: list[int]) -> float:
        reading = meter.before(pids)
        for pid in hogs:
            os.kill(pid, signal.SIGCONT)
        sleep_s(0.5)
        for pid in hogs:
            os.kill(pid, signal.SIGSTOP)
        noise = meter.after(reading)
        assert noise.foreign_cores is not None
        return noise.foreign_cores

    # The least of some turns: other programs of this machine may come and go.
    foreign = min(foreign_of([]) for _ in range(4))
    own = min(foreign_of(hogs) for _ in range(4))
    print(f"foreign load of two busy loops: {foreign:.2f} CPUs; {own:.2f} when they are own")

    assert foreign > 0.25
    assert own < foreign - 0.5
