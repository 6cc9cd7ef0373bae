"""Run ``python benchmarks/overhead.py``: what our host ledger adds to a training step.

One process trains a small model through the real step. Windows of a few steps take turns in
random order: timed (mode host), mode off, and bare, where nothing of ours is called. A block of
the three gives one paired difference each; the median over blocks is reported with a bootstrap
interval. It reports, and does not pass or fail.
"""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from laptime.data.batches import Batch
from laptime.files import make_directory, write_json
from laptime.phase import Phase
from laptime.timing.clock import calendar_now, read_ns
from laptime.timing.environment import collect_environment
from laptime.timing.overhead import measure_step_overhead_ns
from laptime.timing.timers import build_timer
from laptime.training.step import Mover, TrainStep

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

BLOCKS = 1000
STEPS = 20
"""Steps of a window: long enough for the clock, short enough for neighbours to drift alike."""
WARMUP_STEPS = 400
TARGET_US = 20.0
SEED = 0
CPU = torch.device("cpu")

Values = npt.NDArray[np.float64]


def main() -> None:
    torch.set_num_threads(1)
    per_step_us = measure_blocks()
    arms = {name: summary(per_step_us["host"] - per_step_us[name]) for name in ("off", "bare")}
    calibrated_us = measure_step_overhead_ns(lambda: build_timer("host", "cpu")[1]) / 1e3
    step_us = {name: float(np.median(values)) for name, values in per_step_us.items()}
    write_result(
        "overhead.json",
        {
            "what": "host ledger, microseconds a step, paired differences of interleaved windows",
            "n": BLOCKS,
            "steps_per_window": STEPS,
            "seed": SEED,
            "target_us": TARGET_US,
            "calibrated_us": calibrated_us,
            "median_step_us": step_us,
            "host_minus": arms,
            "per_step_us": {name: values.round(3).tolist() for name, values in per_step_us.items()},
        },
    )
    print(f"host ledger, us a step: {BLOCKS} blocks of {STEPS} steps, target {TARGET_US:g}")
    print(f"{'baseline':<12}{'step us':>10}{'added us':>10}{'95 % interval':>20}{'share':>9}")
    for name, found in arms.items():
        low, high = found["interval_us"]
        print(
            f"{name:<12}{step_us[name]:>10.1f}{found['median_us']:>10.2f}"
            f"{f'{low:.2f} to {high:.2f}':>20}{found['median_us'] / step_us[name]:>9.2%}"
        )
    print(f"{'calibrated':<12}{'':>10}{calibrated_us:>10.2f}")


def measure_blocks() -> dict[str, Values]:
    """Return microseconds a step of every window, by arm; the same index is the same block."""
    train_step, batch = build_step()
    windows: dict[str, Callable[[], int]] = {
        "host": lambda: timed_window(train_step, batch, "host"),
        "off": lambda: timed_window(train_step, batch, "off"),
        "bare": lambda: bare_window(train_step, batch),
    }
    for _ in range(WARMUP_STEPS // STEPS):
        for measure in windows.values():
            measure()
    order = np.random.default_rng(SEED)
    found: dict[str, list[float]] = {name: [] for name in windows}
    gc.collect()
    gc.disable()  # as in our own job: a pause would fall on one arm of a block
    for _ in range(BLOCKS):
        for name in order.permutation(list(windows)):
            found[name].append(windows[name]() / STEPS / 1e3)
    gc.enable()
    return {name: np.array(values) for name, values in found.items()}


def build_step() -> tuple[TrainStep, Batch]:
    """Return a step of about 0.3 ms and the batch it trains on: our cost is easier to see in it."""
    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    batch = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
    return TrainStep(model, optimizer, Mover(CPU, channels_last=False), "float32"), batch


def timed_window(train_step: TrainStep, batch: Batch, mode: Any) -> int:
    """Train some steps as the epoch loop does and return the nanoseconds they took."""
    _, timer = build_timer(mode, "cpu")
    enter = timer.enter
    start_ns = read_ns()
    for _ in range(STEPS):
        enter(Phase.DATA_WAIT)
        train_step(batch, enter)
        timer.end_step()
    return read_ns() - start_ns


def bare_window(train_step: TrainStep, batch: Batch) -> int:
    """Train the same steps with nothing of ours but the step's own calls to a stub."""
    start_ns = read_ns()
    for _ in range(STEPS):
        train_step(batch, _stay)
    return read_ns() - start_ns


def _stay(phase: Phase) -> Phase:
    return phase


def summary(differences_us: Values) -> dict[str, Any]:
    """Return the median of paired differences, its bootstrap interval, and their spread."""
    return {
        "median_us": float(np.median(differences_us)),
        "interval_us": bootstrap_interval(differences_us, lambda rows: np.median(rows, axis=1)),
        "mean_us": float(differences_us.mean()),
        "quantiles_us": {
            str(q): float(np.quantile(differences_us, q)) for q in (0, 0.05, 0.25, 0.75, 0.95, 1)
        },
    }


def bootstrap_interval(
    values: Values, statistic: Callable[[Any], Any], resamples: int = 4000
) -> list[float]:
    """Return the 95 % percentile interval of a statistic over resampled rows of the values."""
    chosen = np.random.default_rng(SEED).integers(0, len(values), (resamples, len(values)))
    return [float(edge) for edge in np.quantile(statistic(values[chosen]), (0.025, 0.975))]


def write_result(name: str, found: dict[str, Any]) -> None:
    """Write what was found with the conditions that it was found under."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    machine = collect_environment("cpu")
    make_directory(RESULTS)
    write_json(
        RESULTS / name,
        {
            "commit": commit.stdout.strip(),
            "date": calendar_now().isoformat(timespec="seconds"),
            "torch": machine.torch,
            "machine": machine.model_dump(mode="json"),
            **found,
        },
    )


if __name__ == "__main__":
    main()
