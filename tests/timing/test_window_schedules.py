"""Windows of both timers on random schedules, against a simulation that counts nanoseconds."""

import random
from collections.abc import Callable
from dataclasses import fields

import pytest

from laptime.phase import Phase
from laptime.record import DeviceTimes
from laptime.timing.clock import FakeClock, FakeDeviceClock
from laptime.timing.ledger import HostLedger
from laptime.timing.windows import (
    DeviceWindow,
    EventTimer,
    HostTimer,
    StepTimer,
    Window,
    WindowPolicy,
    sum_device_windows,
)

NEVER_DUE = WindowPolicy(min_ns=10**18)
STEP_PHASES = (Phase.TRANSFER, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)
GAP = None
NUM_SCHEDULES = 3_000


class Simulation:
    """A host and a device in steps of one nanosecond, which knows nothing of timers.

    The host writes down its phase at every nanosecond, and puts work and marks into a queue;
    the device takes them in order. Both only meet in the queue.
    """

    def __init__(self) -> None:
        self.host_phases: list[Phase] = []
        self.queue: list[tuple[int, str, object]] = []

    def spend(self, phase: Phase, duration_ns: int) -> None:
        self.host_phases += [phase] * duration_ns

    def launch(self, duration_ns: int) -> None:
        self.queue += [(len(self.host_phases), "work", None)] * duration_ns

    def mark(self, phase: Phase | None) -> None:
        self.queue.append((len(self.host_phases), "mark", phase))

    def device_phases(self, until_ns: int) -> list[tuple[Phase | None, bool, bool]]:
        """Return, a nanosecond: the last mark passed, whether work runs, whether marks follow."""
        queue, at, phase = self.queue, 0, GAP
        num_marks = sum(kind == "mark" for _, kind, _ in queue)
        history = []
        for now_ns in range(until_ns):
            while at < len(queue) and queue[at][0] <= now_ns and queue[at][1] == "mark":
                phase = queue[at][2]  # type: ignore[assignment]
                num_marks -= 1
                at += 1
            is_busy = at < len(queue) and queue[at][0] <= now_ns
            at += is_busy
            history.append((phase, is_busy, num_marks > 0))
        return history


class Driver:
    """Runs one random schedule on the fakes and writes it down for the simulation."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = FakeClock()
        self.device = FakeDeviceClock(self.clock)
        self.ledger = HostLedger(self.clock.read_ns)
        self.timer = EventTimer(self.ledger, self.device, NEVER_DUE)
        self.simulation = Simulation()
        self.opened_ns: int | None = None

    def run(self) -> tuple[DeviceWindow, int]:
        """Return the window of a few steps, and the time from which on it lasted."""
        for _ in range(self.rng.randint(1, 6)):
            self._step()
        window = self.timer.close_window()
        assert window is not None
        assert window.device is not None
        self.simulation.spend(Phase.SYNC, self.clock.now_ns - len(self.simulation.host_phases))
        assert self.opened_ns is not None
        return window.device, self.opened_ns

    def _step(self) -> None:
        for _ in range(1 + (self.rng.random() < 0.2)):  # a second batch in one step of five
            self._enter(Phase.DATA_WAIT)
            self._spend(Phase.DATA_WAIT)
            for phase in STEP_PHASES[:3]:
                self._phase(phase)
        self._phase(Phase.OPTIMIZER)
        self._enter(Phase.OTHER)
        self._spend(Phase.OTHER)
        self.timer.end_step()

    def _phase(self, phase: Phase) -> None:
        self._enter(phase)
        for _ in range(self.rng.randint(0, 2)):
            self._spend(phase)
            self._launch()
        if phase is not Phase.OPTIMIZER and self.rng.random() < 0.2:
            self.timer.enter(Phase.LOGGING)
            self._spend(Phase.LOGGING)
            self._enter(phase)

    def _enter(self, phase: Phase) -> None:
        if self.opened_ns is None and phase in STEP_PHASES:
            self.opened_ns = self.clock.now_ns
        left = self.timer.enter(phase)
        if phase in STEP_PHASES:
            self.simulation.mark(phase)
        elif left is Phase.OPTIMIZER or phase is Phase.DATA_WAIT:
            self.simulation.mark(GAP)

    def _spend(self, phase: Phase) -> None:
        duration_ns = max(0, self.rng.randint(-4, 12))
        self.clock.advance_ns(duration_ns)
        self.simulation.spend(phase, duration_ns)

    def _launch(self) -> None:
        duration_ns = max(0, self.rng.randint(-4, 12))
        self.device.launch(duration_ns)
        self.simulation.launch(duration_ns)


def count(driver: Driver, opened_ns: int) -> dict[str, int]:
    """Attribute each nanosecond of the window by looking at it."""
    host = driver.simulation.host_phases
    device = driver.simulation.device_phases(len(host))
    counts = dict.fromkeys(
        (*(phase.value for phase in STEP_PHASES), "stall", "host_gap", "hidden", "tail"), 0
    )
    for now_ns in range(opened_ns, len(host)):
        phase, is_busy, marks_follow = device[now_ns]
        is_waiting = host[now_ns] is Phase.DATA_WAIT
        assert not (phase is GAP and is_busy), "all work of these schedules lies in a phase"
        if phase is not GAP:
            counts[phase.value] += 1
            counts["hidden"] += is_waiting
        elif not marks_follow:
            counts["tail"] += 1
        else:
            counts["stall" if is_waiting else "host_gap"] += 1
    return counts


def test_windows_of_random_schedules_agree_with_counting_every_nanosecond() -> None:
    seen = dict.fromkeys(("stall", "host_gap", "hidden", "tail"), 0)
    for seed in range(NUM_SCHEDULES):
        driver = Driver(seed)
        device, opened_ns = driver.run()
        expected = count(driver, opened_ns)
        assert {
            "transfer": device.transfer_ns,
            "forward": device.forward_ns,
            "backward": device.backward_ns,
            "optimizer": device.optimizer_ns,
            "stall": device.stall_ns,
            "host_gap": device.host_gap_ns,
            "hidden": device.hidden_ns,
            "tail": device.closure_ns,
        } == expected, f"seed {seed}"
        assert sum(expected.values()) - expected["hidden"] == device.wall_ns
        host = driver.simulation.host_phases[opened_ns:]
        assert device.host_phases_ns == {phase: host.count(phase) for phase in Phase}
        for name in seen:
            seen[name] += expected[name] > 0
    # The schedules would prove nothing if they did not stall, hide, starve and end early.
    assert min(seen.values()) > NUM_SCHEDULES // 20


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


def _device_window(**changes: object) -> Window:
    numbers = {field.name: 10**8 for field in fields(DeviceWindow)}
    numbers |= {"closure_ns": 0, "host_phases_ns": dict.fromkeys(Phase, 3)}  # type: ignore[dict-item]
    return Window(1, 1, 10**8, {}, DeviceWindow(**(numbers | changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("wall_ns", "limit_ns"), [(10**7, 10**6), (2 * 10**8, 10**6), (2 * 10**9, 10**7)]
)
def test_a_window_is_valid_up_to_one_millisecond_or_half_a_percent(
    wall_ns: int, limit_ns: int, sign: int
) -> None:
    for excess_ns, is_valid in ((0, True), (1, False)):
        window = _device_window(wall_ns=wall_ns, closure_ns=sign * (limit_ns + excess_ns))
        assert window.device is not None
        assert window.device.valid is is_valid


def test_sums_over_windows_have_the_names_and_the_values_that_a_record_holds() -> None:
    windows = [
        _device_window(steps=20, stall_ns=5, closure_ns=-7),
        Window(21, 1, 9, {}),
        _device_window(steps=3, stall_ns=6, closure_ns=2_000_000),
    ]
    sums = sum_device_windows(windows)
    assert sums is not None
    record = DeviceTimes(**sums)
    assert set(sums) == set(DeviceTimes.model_fields)
    assert (record.windows, record.steps, record.stall_ns) == (2, 23, 11)
    assert (record.closure_ns, record.invalid_windows) == (1_999_993, 1)
    assert record.host_phases_ns == dict.fromkeys(Phase, 6)
    assert record.forward_ns == 2 * 10**8


def test_windows_without_a_device_have_no_device_sums() -> None:
    assert sum_device_windows([Window(1, 5, 9, {})]) is None
    assert sum_device_windows([]) is None
