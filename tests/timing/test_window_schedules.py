"""Windows of both timers on random schedules, against a simulation that counts nanoseconds."""

import random
from dataclasses import fields

import pytest

from laptime.phase import Phase
from laptime.record import DeviceTimes
from laptime.timing.clock import FakeClock, FakeDeviceClock
from laptime.timing.ledger import HostLedger
from laptime.timing.windows import (
    DeviceWindow,
    EventTimer,
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
            if self.rng.random() < 0.3:
                self._enter(Phase.OTHER)
                self._spend(Phase.OTHER)
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
        _device_window(steps=1, stall_ns=0),
    ]
    sums = sum_device_windows(windows)
    assert sums is not None
    record = DeviceTimes(**sums)
    assert set(sums) == set(DeviceTimes.model_fields)
    assert (record.windows, record.steps, record.stall_ns) == (3, 24, 11)
    assert (record.closure_ns, record.invalid_windows) == (1_999_993, 1)
    assert record.host_phases_ns == dict.fromkeys(Phase, 9)
    assert record.forward_ns == 3 * 10**8


def test_windows_without_a_device_have_no_device_sums() -> None:
    assert sum_device_windows([Window(1, 5, 9, {})]) is None
    assert sum_device_windows([]) is None
