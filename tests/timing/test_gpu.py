"""The device ledger on a real GPU: pytest -m gpu -s tests/timing/test_gpu.py.

Needs torch and laptime.timing, nothing else of laptime. Work of a known length is planted with
``torch.cuda._sleep``, which keeps a GPU busy for so many of its cycles.
"""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional

from laptime.phase import Phase
from laptime.timing.clock import CudaClock, device_wait, read_ns, sleep_s
from laptime.timing.ledger import HostLedger
from laptime.timing.windows import DeviceWindow, EventTimer, Window, WindowPolicy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

DEVICE = "cuda"
MS = 1_000_000
NEVER_DUE = WindowPolicy(min_ns=10**18)
STEP_PHASES = (Phase.TRANSFER, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)
Work = Callable[[], object]
wait_for_gpu = device_wait("cuda")


def nothing() -> None:
    """Stand for a part of a step that costs nothing."""


def busy(num_cycles: int) -> Work:
    return lambda: torch.cuda._sleep(num_cycles)


def asleep(duration_ms: int) -> Work:
    return lambda: sleep_s(duration_ms / 1e3)


def measure_cycles_per_ms() -> float:
    """Return how many cycles of ``_sleep`` make a millisecond, by events of its own."""
    rates = []
    for _ in range(5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        torch.cuda._sleep(50_000_000)
        end.record()
        wait_for_gpu()
        rates.append(50_000_000 / start.elapsed_time(end))
    return statistics.median(rates)


@pytest.fixture(scope="module")
def cycles_per_ms() -> float:
    for _ in range(3):  # until the clocks have risen
        rate = measure_cycles_per_ms()
    return rate


class Trainer:
    """A small convolutional network, its batch on the host, and its optimizer."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()]
        for _ in range(3):
            layers += [nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()]
        self.model = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
        ).to(DEVICE)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.inputs = torch.randn(256, 3, 32, 32).pin_memory()
        self.labels = torch.randint(0, 10, (256,)).pin_memory()

    def transfer(self) -> None:
        self.x = self.inputs.to(DEVICE, non_blocking=True)
        self.y = self.labels.to(DEVICE, non_blocking=True)

    def forward(self) -> None:
        self.loss = functional.cross_entropy(self.model(self.x), self.y)

    def backward(self) -> None:
        self.loss.backward()

    def update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, enter: Callable[[Phase], object]) -> None:
        parts = (self.transfer, self.forward, self.backward, self.update)
        run_step(enter, dict(zip(STEP_PHASES, parts, strict=True)))


def run_step(enter: Callable[[Phase], object], works: dict[Phase, Work]) -> None:
    """Run a step whose phases, next() and Python included, do these works."""
    enter(Phase.DATA_WAIT)
    works.get(Phase.DATA_WAIT, nothing)()
    for phase in STEP_PHASES:
        enter(phase)
        works.get(phase, nothing)()
    enter(Phase.OTHER)
    works.get(Phase.OTHER, nothing)()


def new_timer(policy: WindowPolicy = NEVER_DUE) -> EventTimer:
    return EventTimer(HostLedger(read_ns), CudaClock(torch.device(DEVICE)), policy)


def closed(window: Window | None) -> DeviceWindow:
    assert window is not None
    assert window.device is not None
    return window.device


def measure_window(works: dict[Phase, Work], steps: int = 20) -> DeviceWindow:
    """Return the second window of two, so that nothing in it happens for the first time."""
    timer = new_timer()
    for _ in range(2):
        for _ in range(steps):
            run_step(timer.enter, works)
            timer.end_step()
        window = timer.close_window()
    device = closed(window)
    print(f"\n{device}")
    return device


def test_the_events_of_a_real_training_explain_every_window() -> None:
    trainer, timer = Trainer(), new_timer(WindowPolicy(min_ns=300 * MS, min_steps=20))
    for _ in range(30):
        trainer.step(lambda phase: None)
    windows = []
    while len(windows) < 5:
        trainer.step(timer.enter)
        if timer.end_step():
            windows.append(closed(timer.close_window()))
    for window in windows:
        share = window.closure_ns / window.wall_ns
        print(f"\n{window.steps} steps, {window.wall_ns} ns, closure {window.closure_ns} ns")
        print(f"{share:.4%} of the wall; forward {window.forward_ns} backward {window.backward_ns}")
    assert all(window.valid for window in windows)


class PlantedWork(torch.autograd.Function):
    """Keeps the GPU busy forward and backward, the latter from autograd's own thread."""

    @staticmethod
    def forward(ctx, x, forward_cycles, backward_cycles):  # type: ignore[no-untyped-def]
        ctx.cycles = backward_cycles
        torch.cuda._sleep(forward_cycles)
        return x.clone()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        torch.cuda._sleep(ctx.cycles)
        return grad, None, None


def test_planted_work_is_found_within_two_percent_where_the_stopwatch_finds_a_tenth(
    cycles_per_ms: float,
) -> None:
    planted_ms = dict(zip(STEP_PHASES, (2, 6, 10, 4), strict=True))
    cycles = {phase: int(ms * cycles_per_ms) for phase, ms in planted_ms.items()}
    x = torch.ones(1, device=DEVICE, requires_grad=True)
    losses: list[torch.Tensor] = []

    def forward() -> None:
        y = PlantedWork.apply(x, cycles[Phase.FORWARD], cycles[Phase.BACKWARD])
        losses.append(y.sum())

    device = measure_window(
        {
            Phase.TRANSFER: busy(cycles[Phase.TRANSFER]),
            Phase.FORWARD: forward,
            Phase.BACKWARD: lambda: losses.pop().backward(),
            Phase.OPTIMIZER: busy(cycles[Phase.OPTIMIZER]),
        }
    )

    rate = (cycles_per_ms + measure_cycles_per_ms()) / 2  # clocks drift by a percent or so
    for phase in STEP_PHASES:
        truth_ns = device.steps * cycles[phase] / rate * MS
        found_ns = getattr(device, f"{phase.value}_ns")
        naive_ns = device.host_phases_ns[phase]
        print(f"{phase.value}: {found_ns / truth_ns:.4f} of truth, naive {naive_ns / truth_ns:.4f}")
        assert found_ns == pytest.approx(truth_ns, rel=0.02)
        assert naive_ns < 0.1 * truth_ns
    assert device.valid


def test_a_host_that_waits_while_the_gpu_is_busy_makes_no_stall(cycles_per_ms: float) -> None:
    device = measure_window(
        {Phase.DATA_WAIT: asleep(8), Phase.BACKWARD: busy(int(25 * cycles_per_ms))}
    )
    assert device.stall_ns < 0.01 * device.wall_ns
    assert device.hidden_ns > 0.95 * device.host_phases_ns[Phase.DATA_WAIT]
    assert device.valid


def test_a_gpu_that_starves_while_the_host_runs_python_is_no_stall_either(
    cycles_per_ms: float,
) -> None:
    device = measure_window({Phase.OTHER: asleep(10), Phase.BACKWARD: busy(int(2 * cycles_per_ms))})
    assert device.stall_ns < 0.01 * device.wall_ns
    truth_ns = 19 / 20 * device.host_phases_ns[Phase.OTHER] - 19 * 2 * MS
    assert device.host_gap_ns == pytest.approx(truth_ns, rel=0.05)


def test_a_gpu_that_starves_while_the_host_is_blocked_in_next_is_a_stall(
    cycles_per_ms: float,
) -> None:
    device = measure_window(
        {Phase.DATA_WAIT: asleep(10), Phase.BACKWARD: busy(int(2 * cycles_per_ms))}
    )
    truth_ns = device.host_phases_ns[Phase.DATA_WAIT] - 19 * 2 * MS
    assert device.stall_ns == pytest.approx(truth_ns, rel=0.05)
    assert device.host_gap_ns < 0.02 * device.wall_ns
    assert device.valid


@contextmanager
def synchronizing_refused() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_no_call_of_ours_synchronises_inside_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch refuses what it can see, and whoever calls a wait by its name is found out."""

    def refuse(*args: object) -> None:
        raise AssertionError("a wait inside a window")

    trainer, timer = Trainer(), new_timer()
    trainer.step(timer.enter)
    timer.end_step()
    with synchronizing_refused(), monkeypatch.context() as patch:
        with pytest.raises(RuntimeError, match="synchroniz"):
            trainer.loss.item()
        patch.setattr(torch.cuda, "synchronize", refuse)
        patch.setattr(torch.cuda.Event, "synchronize", refuse)
        patch.setattr(torch.cuda.Stream, "synchronize", refuse)
        for _ in range(30):
            trainer.step(timer.enter)
            timer.end_step()
    assert closed(timer.close_window()).steps == 31


@pytest.mark.filterwarnings("ignore")  # the profiler's own
def test_a_trace_of_steps_inside_a_window_holds_no_synchronising_cuda_call() -> None:
    trainer, timer = Trainer(), new_timer()
    trainer.step(timer.enter)
    activities = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activities.CPU, activities.CUDA]) as trace:
        for name in ("warm-up", "timed steps"):
            with torch.profiler.record_function(name):
                for _ in range(10):
                    trainer.step(timer.enter)
                    timer.end_step()
    timer.close_window()
    events = trace.events()
    span = next(event.time_range for event in events if event.name == "timed steps")
    calls = [
        event.name
        for event in events
        if event.name.startswith("cuda") and span.start <= event.time_range.start <= span.end
    ]
    if not calls:
        pytest.skip("the profiler does not see CUDA runtime calls here")
    print(f"\n{len(calls)} CUDA runtime calls in 10 steps: {sorted(set(calls))}")
    assert not [name for name in calls if "ynchronize" in name]


def test_events_add_no_two_percent_to_a_step_of_five_milliseconds(cycles_per_ms: float) -> None:
    """On and off take turns; what the calls alone cost the host is printed beside it."""
    works = {Phase.FORWARD: busy(int(5 * cycles_per_ms))}

    def turn_ns(enter: Callable[[Phase], object], end_step: Work, steps: int) -> float:
        wait_for_gpu()
        start_ns = read_ns()
        for _ in range(steps):
            run_step(enter, works)
            end_step()
        wait_for_gpu()
        return (read_ns() - start_ns) / steps

    timer = new_timer()
    ratios = []
    for _ in range(15):
        on_ns = turn_ns(timer.enter, timer.end_step, 20)
        timer.close_window()
        ratios.append(on_ns / turn_ns(lambda phase: None, nothing, 20))
    calls_us = []
    for _ in range(15):
        start_ns = read_ns()
        for _ in range(100):
            run_step(timer.enter, {})
            timer.end_step()
        calls_us.append((read_ns() - start_ns) / 100 / 1e3)
        timer.close_window()
    print(f"\non/off at 5 ms: median {statistics.median(ratios):.5f}, all {sorted(ratios)}")
    print(f"calls on the host: median {statistics.median(calls_us):.2f} us a step of {calls_us}")
    assert statistics.median(ratios) < 1.02
