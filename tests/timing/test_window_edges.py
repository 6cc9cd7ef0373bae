"""Where windows begin and end: the same protocol, spoken by both timers."""

import random
from collections.abc import Callable

import pytest

from laptime.phase import Phase
from laptime.timing.clock import FakeClock, FakeDeviceClock
from laptime.timing.ledger import HostLedger
from laptime.timing.windows import EventTimer, HostTimer, StepTimer, Window, WindowPolicy

NEVER_DUE = WindowPolicy(min_ns=10**18)
STEP_PHASES = (Phase.TRANSFER, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)


def event_timer(
    ledger: HostLedger, policy: WindowPolicy, clock: FakeClock | None = None
) -> EventTimer:
    """Return a timer of a device that does nothing."""
    return EventTimer(ledger, FakeDeviceClock(clock or FakeClock()), policy)


@pytest.mark.parametrize("build", [HostTimer, event_timer])
def test_there_is_no_window_without_a_step(
    build: Callable[[HostLedger, WindowPolicy], StepTimer],
) -> None:
    timer = build(HostLedger(FakeClock().read_ns), NEVER_DUE)
    assert timer.close_window() is None
    timer.enter(Phase.FORWARD)
    timer.enter(Phase.OTHER)
    timer.end_step()
    assert timer.close_window() is not None
    assert timer.close_window() is None
    timer.enter(Phase.FORWARD)
    assert timer.close_window() is None


@pytest.mark.parametrize(
    ("steps", "elapsed_ns", "due"),
    [(20, 10**9, True), (19, 5 * 10**9, False), (25, 10**9 - 25, False)],
)
@pytest.mark.parametrize("build", [HostTimer, event_timer])
def test_a_window_is_due_after_a_second_and_twenty_steps(
    build: Callable[[HostLedger, WindowPolicy], StepTimer], steps: int, elapsed_ns: int, due: bool
) -> None:
    clock = FakeClock()
    timer = build(HostLedger(clock.read_ns), WindowPolicy())
    answers = []
    for _ in range(steps):
        timer.enter(Phase.FORWARD)
        clock.advance_ns(elapsed_ns // steps)
        timer.enter(Phase.OTHER)
        num_reads = clock.num_reads
        answers.append(timer.end_step())
        assert clock.num_reads == num_reads
    assert not any(answers[:-1])
    assert answers[-1] is due


def test_the_next_host_window_is_due_a_second_after_the_last_one_ended() -> None:
    clock = FakeClock()
    timer = HostTimer(HostLedger(clock.read_ns), WindowPolicy(min_ns=100, min_steps=1))
    for _ in range(2):
        assert [_step(timer, clock, 60), _step(timer, clock, 60)] == [False, True]
        assert timer.close_window() is not None


def test_the_wait_before_its_first_step_does_not_make_a_device_window_due() -> None:
    clock = FakeClock()
    timer = event_timer(HostLedger(clock.read_ns), WindowPolicy(min_ns=100, min_steps=1), clock)
    timer.enter(Phase.LOADER_START)
    clock.advance_ns(10_000)
    assert _step(timer, clock, 50) is False
    assert _step(timer, clock, 50) is True


def test_counting_starts_at_the_step_where_an_epoch_goes_on() -> None:
    clock = FakeClock()
    timer = HostTimer(HostLedger(clock.read_ns), NEVER_DUE, first_step=31)
    firsts = []
    for _ in range(2):
        _step(timer, clock, 5)
        window = timer.close_window()
        assert window is not None
        firsts.append(window.first_step)
    assert firsts == [31, 32]


def test_a_host_window_ends_at_the_last_reading_and_reads_no_clock() -> None:
    clock = FakeClock()
    timer = HostTimer(HostLedger(clock.read_ns), NEVER_DUE)
    _step(timer, clock, 5)
    clock.advance_ns(100)
    num_reads = clock.num_reads
    window = timer.close_window()
    assert window is not None
    assert (window.wall_ns, clock.num_reads) == (5, num_reads)
    assert window.device is None


@pytest.mark.parametrize("build", [HostTimer, event_timer])
def test_windows_and_what_follows_the_last_partition_the_epoch_exactly(
    build: Callable[[HostLedger, WindowPolicy], StepTimer],
) -> None:
    for seed in range(200):
        rng = random.Random(seed)
        clock = FakeClock(rng.randint(0, 1_000))
        ledger = HostLedger(clock.read_ns)
        timer = build(ledger, WindowPolicy(min_ns=60, min_steps=2))
        windows = _epoch(timer, clock, rng)
        covered_ns = {phase: sum(window.phases_ns[phase] for window in windows) for phase in Phase}
        assert covered_ns == ledger.spent_ns()
        assert sum(window.wall_ns for window in windows) == ledger.now_ns - ledger.start_ns
        assert all(window.wall_ns == sum(window.phases_ns.values()) for window in windows)
        ends = [window.first_step + window.steps for window in windows]
        assert [window.first_step for window in windows] == [1, *ends[:-1]]


def test_opening_a_window_does_not_show_in_the_phase_that_is_given_back() -> None:
    clock = FakeClock()
    timer = event_timer(HostLedger(clock.read_ns), NEVER_DUE, clock)
    timer.enter(Phase.DATA_WAIT)
    assert timer.enter(Phase.TRANSFER) is Phase.DATA_WAIT
    assert timer.enter(Phase.FORWARD) is Phase.TRANSFER


def test_a_wait_of_ours_leaves_the_phase_that_it_found() -> None:
    clock = FakeClock()
    ledger = HostLedger(clock.read_ns)
    timer = event_timer(ledger, NEVER_DUE, clock)
    _step(timer, clock, 5)
    timer.close_window()
    assert ledger.phase is Phase.OTHER


def test_a_device_that_fails_in_a_wait_leaves_the_phase_that_was_found() -> None:
    class BrokenDevice(FakeDeviceClock):
        def wait(self) -> None:
            super().wait()
            if self.num_waits == 2:
                raise RuntimeError("device lost")

    clock = FakeClock()
    ledger = HostLedger(clock.read_ns)
    timer = EventTimer(ledger, BrokenDevice(clock), NEVER_DUE)
    _step(timer, clock, 5)
    with pytest.raises(RuntimeError, match="device lost"):
        timer.close_window()
    assert ledger.phase is Phase.OTHER


def test_a_window_without_device_phases_has_no_device_times() -> None:
    clock = FakeClock()
    timer = event_timer(HostLedger(clock.read_ns), NEVER_DUE, clock)
    _step(timer, clock, 5)
    first = timer.close_window()
    timer.end_step()
    second = timer.close_window()
    assert first is not None
    assert second is not None
    assert (first.device is None, second.device is None) == (False, True)


def _epoch(timer: StepTimer, clock: FakeClock, rng: random.Random) -> list[Window]:
    """Run an epoch that ends with a step's window; evaluate within it now and then."""
    windows: list[Window | None] = []
    timer.enter(Phase.LOADER_START)
    for _ in range(rng.randint(1, 25)):
        if _step(timer, clock, rng.randint(0, 40)):
            windows.append(timer.close_window())
        elif rng.random() < 0.1:
            left = timer.enter(Phase.EVALUATION)
            clock.advance_ns(rng.randint(0, 100))
            timer.enter(left)
            windows.append(timer.close_window())
    _step(timer, clock, 3)
    windows.append(timer.close_window())
    assert None not in windows
    return [window for window in windows if window is not None]


def _step(timer: StepTimer, clock: FakeClock, duration_ns: int) -> bool:
    timer.enter(Phase.DATA_WAIT)
    for phase in STEP_PHASES:
        timer.enter(phase)
        clock.advance_ns(duration_ns if phase is Phase.FORWARD else 0)
    timer.enter(Phase.OTHER)
    return timer.end_step()
