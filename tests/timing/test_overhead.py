from __future__ import annotations

from collections.abc import Iterator

import pytest

from laptime.phase import Phase
from laptime.timing.clock import FakeClock
from laptime.timing.ledger import HostLedger
from laptime.timing.overhead import measure_step_overhead_ns
from laptime.timing.windows import HostTimer, Window, WindowPolicy


class CostlyTimer:
    """A timer whose every call takes a known time of the fake clock."""

    def __init__(self, clock: FakeClock, enter_ns: int, end_ns: int = 0) -> None:
        self._clock, self._enter_ns, self._end_ns = clock, enter_ns, end_ns
        self.entered: list[Phase] = []
        self.steps = 0

    def enter(self, phase: Phase) -> Phase:
        self.entered.append(phase)
        self._clock.advance_ns(self._enter_ns)
        return Phase.OTHER

    def end_step(self) -> bool:
        self.steps += 1
        self._clock.advance_ns(self._end_ns)
        return False

    def close_window(self) -> Window | None:
        raise AssertionError("the records of a window are not part of a step")


@pytest.mark.parametrize(("rounds", "steps"), [(1, 1), (3, 7), (20, 50)])
def test_a_step_costs_its_six_transitions_and_its_end(rounds: int, steps: int) -> None:
    clock = FakeClock()

    cost_ns = measure_step_overhead_ns(
        lambda: CostlyTimer(clock, enter_ns=100, end_ns=40),
        rounds=rounds,
        steps=steps,
        clock=clock.read_ns,
    )

    assert cost_ns == 6 * 100 + 40


def test_one_slow_round_does_not_move_the_median() -> None:
    clock = FakeClock()
    costs: Iterator[int] = iter([10, 10, 9_999_999, 10, 10])

    cost_ns = measure_step_overhead_ns(
        lambda: CostlyTimer(clock, enter_ns=next(costs)), rounds=5, steps=2, clock=clock.read_ns
    )

    assert cost_ns == 60


def test_building_a_timer_is_not_part_of_a_step() -> None:
    clock = FakeClock()

    def build() -> CostlyTimer:
        clock.advance_ns(1_000_000)
        return CostlyTimer(clock, enter_ns=1)

    assert measure_step_overhead_ns(build, rounds=3, steps=5, clock=clock.read_ns) == 6


def test_every_round_has_a_timer_of_its_own_that_hears_whole_steps() -> None:
    clock, built = FakeClock(), []

    def build() -> CostlyTimer:
        built.append(CostlyTimer(clock, enter_ns=1))
        return built[-1]

    measure_step_overhead_ns(build, rounds=4, steps=3, clock=clock.read_ns)

    assert [timer.steps for timer in built] == [3] * 4
    step = [
        Phase.DATA_WAIT,
        Phase.TRANSFER,
        Phase.FORWARD,
        Phase.BACKWARD,
        Phase.OPTIMIZER,
        Phase.OTHER,
    ]
    assert all(timer.entered == step * 3 for timer in built)


def test_the_host_timer_reads_the_clock_once_a_transition() -> None:
    clock = FakeClock()

    def read_slowly_ns() -> int:
        clock.advance_ns(25)
        return clock.read_ns()

    cost_ns = measure_step_overhead_ns(
        lambda: HostTimer(HostLedger(read_slowly_ns), WindowPolicy()),
        rounds=3,
        steps=10,
        clock=clock.read_ns,
    )

    assert cost_ns == 6 * 25
