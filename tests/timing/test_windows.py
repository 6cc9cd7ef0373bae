from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from laptime.phase import Phase
from laptime.timing.clock import FakeClock, FakeDeviceClock, FakeDeviceEvent
from laptime.timing.ledger import HostLedger
from laptime.timing.windows import (
    DeviceWindow,
    EventTimer,
    Window,
    WindowPolicy,
)

MS = 1_000_000
NEVER_DUE = WindowPolicy(min_ns=10**18)


@dataclass(frozen=True)
class Cost:
    """What one step costs: host time in next(), in each launch and in Python; device time."""

    wait_ns: int = 0
    launch_ns: int = 0
    python_ns: int = 0
    transfer_ns: int = 1 * MS
    forward_ns: int = 3 * MS
    backward_ns: int = 5 * MS
    optimizer_ns: int = 1 * MS


class Rig:
    """A fake host, a fake device and an event timer between them."""

    def __init__(
        self,
        policy: WindowPolicy = NEVER_DUE,
        device_clock: type[FakeDeviceClock] = FakeDeviceClock,
    ):
        self.clock = FakeClock(7)
        self.device = device_clock(self.clock)
        self.ledger = HostLedger(self.clock.read_ns)
        self.timer = EventTimer(self.ledger, self.device, policy)

    def step(self, cost: Cost) -> bool:
        """Fetch a batch and train on it; return whether the window is due."""
        self.timer.enter(Phase.DATA_WAIT)
        self.clock.advance_ns(cost.wait_ns)
        for phase, work_ns in (
            (Phase.TRANSFER, cost.transfer_ns),
            (Phase.FORWARD, cost.forward_ns),
            (Phase.BACKWARD, cost.backward_ns),
            (Phase.OPTIMIZER, cost.optimizer_ns),
        ):
            self.work(phase, cost.launch_ns, work_ns)
        self.timer.enter(Phase.OTHER)
        self.clock.advance_ns(cost.python_ns)
        return self.timer.end_step()

    def work(self, phase: Phase, launch_ns: int, work_ns: int) -> None:
        self.timer.enter(phase)
        self.clock.advance_ns(launch_ns)
        self.device.launch(work_ns)

    def spend(self, phase: Phase, duration_ns: int) -> None:
        self.timer.enter(phase)
        self.clock.advance_ns(duration_ns)

    def close(self) -> tuple[Window, DeviceWindow]:
        window = self.timer.close_window()
        assert window is not None
        assert window.device is not None
        assert_identity(window.device)
        return window, window.device


def device_window(costs: Sequence[Cost]) -> DeviceWindow:
    """Return the only window of these steps."""
    rig = Rig()
    for cost in costs:
        rig.step(cost)
    return rig.close()[1]


def device_with(event: type[FakeDeviceEvent]) -> type[FakeDeviceClock]:
    """Return a device whose events are of this kind."""
    return type("Device", (FakeDeviceClock,), {"record": lambda self: event(self)})


def assert_identity(device: DeviceWindow) -> None:
    parts_ns = (
        device.transfer_ns,
        device.forward_ns,
        device.backward_ns,
        device.optimizer_ns,
        device.stall_ns,
        device.host_gap_ns,
    )
    assert sum(parts_ns) + device.closure_ns == device.wall_ns
    assert min(*parts_ns, device.hidden_ns) >= 0


def test_a_slow_loader_stalls_the_device_for_what_its_work_does_not_hide() -> None:
    device = device_window([Cost(wait_ns=30 * MS)] * 4)
    assert (device.transfer_ns, device.forward_ns) == (4 * 1 * MS, 4 * 3 * MS)
    assert (device.backward_ns, device.optimizer_ns) == (4 * 5 * MS, 4 * 1 * MS)
    # The first wait comes before the window; work of 10 ms hides as much of each later one.
    assert (device.stall_ns, device.hidden_ns) == (3 * 20 * MS, 3 * 10 * MS)
    assert (device.host_gap_ns, device.closure_ns) == (0, 0)


@pytest.mark.parametrize("wait_ns", [4 * MS, 10 * MS])
def test_a_wait_behind_a_busy_device_is_hidden_and_costs_nothing(wait_ns: int) -> None:
    """The stopwatch says that all time goes to data and none to the work; in truth none does."""
    device = device_window([Cost(wait_ns=wait_ns)] * 5)
    assert device.host_phases_ns[Phase.DATA_WAIT] == 4 * wait_ns
    assert sum(device.host_phases_ns[phase] for phase in STEP_PHASES) == 0
    assert (device.stall_ns, device.hidden_ns) == (0, 4 * wait_ns)
    assert (device.host_gap_ns, device.wall_ns) == (0, 5 * 10 * MS)


def test_a_device_that_starves_while_the_host_runs_python_is_a_host_gap() -> None:
    """The stopwatch sees no wait for data, and there is none: data is not to blame."""
    device = device_window([Cost(python_ns=25 * MS)] * 4)
    assert (device.host_gap_ns, device.stall_ns) == (3 * 15 * MS, 0)
    # After the last step's work the device was idle too, and no event says so.
    assert device.closure_ns == 15 * MS
    assert not device.valid


def test_a_gap_is_split_where_the_host_goes_from_python_to_next() -> None:
    device = device_window([Cost(wait_ns=8 * MS, python_ns=14 * MS)] * 2)
    assert (device.host_gap_ns, device.stall_ns, device.hidden_ns) == (4 * MS, 8 * MS, 0)
    device = device_window([Cost(wait_ns=8 * MS, python_ns=7 * MS)] * 2)
    assert (device.host_gap_ns, device.stall_ns, device.hidden_ns) == (0, 5 * MS, 3 * MS)


def test_time_to_launch_is_the_devices_where_its_phase_waits_for_it() -> None:
    device = device_window([Cost(launch_ns=6 * MS)] * 2)
    # Each launch ends after the work before it: 6 ms, then the work, 5 of them overlapped.
    assert device.forward_ns == 2 * (6 * MS - 1 * MS + 3 * MS)
    assert device.closure_ns == 0


STEP_PHASES = (Phase.TRANSFER, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)


@pytest.mark.parametrize("phase", STEP_PHASES)
def test_the_stopwatch_is_wrong_more_than_tenfold_where_events_are_right(phase: Phase) -> None:
    """It reads the 0.02 ms that a launch takes, not the 1 to 5 ms of work."""
    costs = [Cost(wait_ns=2 * MS, launch_ns=MS // 50)] * 20
    device = device_window(costs)
    truth_ns = 20 * getattr(costs[0], f"{phase.value}_ns")
    assert getattr(device, f"{phase.value}_ns") == pytest.approx(truth_ns, rel=0.03)
    assert device.host_phases_ns[phase] * 10 < truth_ns


def test_the_wait_before_a_windows_first_step_is_outside_of_it() -> None:
    rig = Rig()
    for _ in range(2):
        rig.step(Cost(wait_ns=50 * MS))
        rig.step(Cost(wait_ns=12 * MS))
        window, device = rig.close()
        assert (device.stall_ns, device.hidden_ns) == (2 * MS, 10 * MS)
        assert device.wall_ns == 22 * MS
        assert window.phases_ns[Phase.DATA_WAIT] == 62 * MS
        assert device.host_phases_ns[Phase.DATA_WAIT] == 12 * MS


def test_work_queued_before_a_window_is_waited_for_and_no_part_of_it() -> None:
    rig = Rig()
    for _ in range(2):
        rig.device.launch(40 * MS)
        rig.step(Cost())
        window, device = rig.close()
        assert (device.wall_ns, device.closure_ns) == (10 * MS, 0)
        assert window.phases_ns[Phase.SYNC] == 50 * MS
        assert device.host_phases_ns[Phase.SYNC] == 10 * MS


def test_a_window_waits_at_its_edges_and_never_inside() -> None:
    rig = Rig()
    assert rig.device.num_waits == 0
    for edges in (2, 4):
        for _ in range(30):
            rig.step(Cost(wait_ns=1 * MS, launch_ns=100))
            assert rig.device.num_waits == edges - 1
        rig.close()
        assert rig.device.num_waits == edges


@pytest.mark.parametrize(
    "phase", [Phase.LOADER_START, Phase.LOADER_END, Phase.EVALUATION, Phase.CHECKPOINT]
)
def test_a_phase_outside_of_windows_ends_the_device_window_but_not_the_host_one(
    phase: Phase,
) -> None:
    rig = Rig()
    rig.step(Cost())
    left = rig.timer.enter(phase)
    rig.clock.advance_ns(500 * MS)
    rig.timer.enter(Phase.OTHER)
    window, device = rig.close()
    assert left is Phase.OTHER
    assert (device.wall_ns, device.closure_ns, device.host_phases_ns[phase]) == (10 * MS, 0, 0)
    assert (window.wall_ns, window.phases_ns[phase]) == (510 * MS, 500 * MS)
    assert rig.device.num_waits == 2


def test_steps_after_the_device_window_ended_are_in_the_host_window_alone() -> None:
    rig = Rig()
    rig.step(Cost())
    rig.timer.enter(Phase.CHECKPOINT)
    rig.step(Cost(forward_ns=99 * MS))
    window, device = rig.close()
    assert (window.steps, device.steps, device.forward_ns) == (2, 1, 3 * MS)


def test_a_device_window_without_a_step_is_dropped_and_the_next_one_measured() -> None:
    rig = Rig()
    rig.work(Phase.FORWARD, 0, 99 * MS)
    rig.timer.enter(Phase.EVALUATION)
    rig.step(Cost())
    device = rig.close()[1]
    assert (device.steps, device.forward_ns) == (1, 3 * MS)


def test_a_second_fetch_within_a_step_is_attributed_like_the_first() -> None:
    """Gradient accumulation: two batches, one update."""
    rig = Rig()
    rig.work(Phase.TRANSFER, 0, 1 * MS)
    rig.work(Phase.FORWARD, 0, 2 * MS)
    rig.work(Phase.BACKWARD, 0, 3 * MS)
    rig.spend(Phase.DATA_WAIT, 10 * MS)
    rig.work(Phase.TRANSFER, 0, 1 * MS)
    rig.work(Phase.FORWARD, 0, 2 * MS)
    rig.work(Phase.BACKWARD, 0, 3 * MS)
    rig.work(Phase.OPTIMIZER, 0, 4 * MS)
    rig.timer.enter(Phase.OTHER)
    rig.timer.end_step()
    device = rig.close()[1]
    assert (device.steps, device.stall_ns, device.hidden_ns) == (1, 4 * MS, 6 * MS)
    assert (device.forward_ns, device.backward_ns, device.closure_ns) == (4 * MS, 6 * MS, 0)


def test_a_closure_inside_the_optimizer_is_charged_to_forward_and_backward() -> None:
    """LBFGS evaluates the model within its own step."""
    rig = Rig()
    rig.work(Phase.TRANSFER, 0, 1 * MS)
    rig.work(Phase.OPTIMIZER, 0, 2 * MS)
    rig.work(Phase.FORWARD, 0, 3 * MS)
    rig.work(Phase.BACKWARD, 0, 5 * MS)
    rig.work(Phase.OPTIMIZER, 0, 7 * MS)
    rig.timer.enter(Phase.OTHER)
    rig.timer.end_step()
    device = rig.close()[1]
    assert (device.forward_ns, device.backward_ns, device.optimizer_ns) == (3 * MS, 5 * MS, 9 * MS)
    assert device.host_gap_ns == 0


def test_a_host_phase_nested_in_a_device_phase_opens_no_gap() -> None:
    rig = Rig()
    rig.work(Phase.TRANSFER, 0, 1 * MS)
    rig.work(Phase.FORWARD, 0, 2 * MS)
    left = rig.timer.enter(Phase.LOGGING)
    rig.clock.advance_ns(9 * MS)
    rig.timer.enter(left)
    rig.device.launch(2 * MS)
    rig.timer.enter(Phase.OPTIMIZER)
    rig.timer.enter(Phase.OTHER)
    rig.timer.end_step()
    device = rig.close()[1]
    assert (device.forward_ns, device.host_gap_ns, device.stall_ns) == (10 * MS, 0, 0)


def test_a_short_last_window_holds_what_is_left() -> None:
    rig = Rig(WindowPolicy(min_ns=0, min_steps=5))
    windows = [rig.close()[0] for _ in range(12) if rig.step(Cost())]
    windows.append(rig.close()[0])
    assert [(window.first_step, window.steps) for window in windows] == [(1, 5), (6, 5), (11, 2)]
    assert windows[-1].device is not None
    assert windows[-1].device.forward_ns == 2 * 3 * MS


def test_a_wait_after_the_last_work_of_a_window_is_in_no_gap() -> None:
    rig = Rig()
    rig.step(Cost())
    rig.spend(Phase.DATA_WAIT, 30 * MS)
    rig.timer.enter(Phase.OTHER)
    device = rig.close()[1]
    assert (device.stall_ns, device.hidden_ns, device.closure_ns) == (0, 0, 20 * MS)


def test_a_device_clock_that_runs_slow_makes_no_time_negative() -> None:
    class SlowEvent(FakeDeviceEvent):
        def elapsed_ns(self, later: FakeDeviceEvent) -> int:
            return super().elapsed_ns(later) * 9 // 10

    rig = Rig(device_clock=device_with(SlowEvent))
    rig.step(Cost())
    rig.spend(Phase.DATA_WAIT, 20 * MS)
    rig.step(Cost(wait_ns=20 * MS))
    device = rig.close()[1]
    assert (device.stall_ns, device.host_gap_ns, device.hidden_ns) == (27 * MS, 0, 13 * MS)


def test_work_that_no_phase_holds_breaks_the_closure_and_the_window_says_so() -> None:
    rig = Rig()
    rig.step(Cost())
    rig.device.launch(3 * MS)
    device = rig.close()[1]
    assert device.closure_ns == 3 * MS
    assert not device.valid


def test_events_are_put_into_the_stream_again_rather_than_made_anew() -> None:
    class CountingDevice(FakeDeviceClock):
        num_made = 0

        def record(self) -> FakeDeviceEvent:
            self.num_made += 1
            return super().record()

    rig = Rig(device_clock=CountingDevice)
    for forward_ns in (3 * MS, 8 * MS):
        rig.step(Cost(forward_ns=forward_ns))
        rig.step(Cost(forward_ns=forward_ns))
        assert rig.close()[1].forward_ns == 2 * forward_ns
    assert rig.device.num_made == 10


def test_device_times_of_a_long_window_keep_their_precision() -> None:
    """CUDA's float32 milliseconds are 16 us apart after 200 s, and 0.5 ns apart at 5 ms."""

    class FloatEvent(FakeDeviceEvent):
        def elapsed_ns(self, later: FakeDeviceEvent) -> int:
            return round(float(np.float32(super().elapsed_ns(later) / 1e6)) * 1e6)

    rig, exact = Rig(device_clock=device_with(FloatEvent)), Rig()
    for i in range(10_000):
        cost = Cost(wait_ns=20_000_123 + i, forward_ns=5_123_457 - i)
        rig.step(cost)
        exact.step(cost)
    rounded_ns, exact_ns = rig.close()[1].stall_ns, exact.close()[1].stall_ns
    # No more than 1 ns a step: a stall read from long intervals would lose thousands.
    assert rounded_ns == pytest.approx(exact_ns, abs=10_000)
