"""Trainings with planted costs, whose true times are known: what the measuring is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn, optim

from laptime.data.dataset import Data
from laptime.data.loaders import build_loader
from laptime.phase import Phase
from laptime.record import EpochRecord
from laptime.settings import RunSettings, build_settings
from laptime.store import RunDirectory
from laptime.timing.clock import read_ns, sleep_s
from laptime.training.checkpoint import Cursor
from laptime.training.epoch import Epoch
from laptime.training.job import Job
from laptime.training.listener import Silence
from laptime.training.step import Mover, TrainStep
from laptime.units import nanoseconds

Kind = Literal["sleeping", "busy", "memory"]

_CPU = torch.device("cpu")
_MEMORY_BYTES = 32 << 20
"""Larger than a core's share of any cache, so that copying it waits for memory."""


@dataclass(frozen=True)
class Planted:
    """What one step costs and where: seconds in the dataset, forward, backward and optimizer."""

    kind: Kind
    dataset_s: float = 0.0
    forward_s: float = 0.0
    backward_s: float = 0.0
    optimizer_s: float = 0.0
    num_workers: int = 0
    steps: int = 20

    @property
    def name(self) -> str:
        """The configuration in words."""
        costs = {
            "dataset": self.dataset_s,
            "forward": self.forward_s,
            "backward": self.backward_s,
            "optimizer": self.optimizer_s,
        }
        where = ", ".join(f"{part} {cost * 1e3:g} ms" for part, cost in costs.items() if cost)
        workers = "1 worker" if self.num_workers == 1 else f"{self.num_workers} workers"
        return f"{self.kind}, {workers}: {where or 'no cost'}"

    def control(self) -> Planted:
        """Return the same without any cost: what the machinery itself takes."""
        return replace(self, dataset_s=0.0, forward_s=0.0, backward_s=0.0, optimizer_s=0.0)


@dataclass
class Truth:
    """Nanoseconds actually spent, by the clock of whoever spent them, a value a step."""

    dataset_ns: list[int] = field(default_factory=list)
    forward_ns: list[int] = field(default_factory=list)
    backward_ns: list[int] = field(default_factory=list)
    optimizer_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """One phase of one configuration: what was planted and what was found."""

    configuration: str
    phase: Phase
    truth_ns: int
    measured_ns: int
    control_ns: int

    @property
    def error_ns(self) -> int:
        """Measured minus control minus truth."""
        return self.measured_ns - self.control_ns - self.truth_ns

    @property
    def tolerance_ns(self) -> int:
        """2 ms or 2 % of the truth, whichever is more."""
        return max(2_000_000, self.truth_ns // 50)

    @property
    def holds(self) -> bool:
        """Whether the planted cost was found."""
        return abs(self.error_ns) <= self.tolerance_ns


def spend(kind: Kind, duration_s: float) -> int:
    """Spend time sleeping, computing or copying memory; return the nanoseconds it really took."""
    start_ns = read_ns()
    if duration_s > 0:
        _SPENDERS[kind](duration_s, start_ns)
        return read_ns() - start_ns
    return 0


def run_planted(planted: Planted, directory: Path) -> tuple[EpochRecord, Truth]:
    """Run one epoch through the real loop and loader; return its record and the truth.

    One sample makes a batch, so that a cost a sample is a cost a step.
    """
    truth = Truth()
    job = _build_job(planted, truth)
    run = RunDirectory(directory)
    run.checkpoints.mkdir(parents=True)
    record, _ = Epoch(job, run, Silence(), lambda: False, _start()).run()
    return record, truth


def compare(
    planted: Planted, record: EpochRecord, truth: Truth, control: EpochRecord
) -> list[Comparison]:
    """Return a comparison for every phase that a cost was planted in, and for the exposed wait."""
    truths = {
        Phase.FORWARD: sum(truth.forward_ns),
        Phase.BACKWARD: sum(truth.backward_ns),
        Phase.OPTIMIZER: sum(truth.optimizer_ns),
        Phase.DATA_WAIT: true_wait_ns(planted, truth, control),
    }
    return [
        Comparison(
            planted.name,
            phase,
            truth_ns,
            record.phases_ns[phase],
            0 if phase is Phase.DATA_WAIT and planted.num_workers else control.phases_ns[phase],
        )
        for phase, truth_ns in truths.items()
    ]


def true_wait_ns(planted: Planted, truth: Truth, control: EpochRecord) -> int:
    """Return how long the training must have waited for all batches but the first.

    Without workers it is what the dataset spent. With workers each batch is made by worker
    ``i % num_workers``, in order, at most ``prefetch_factor`` ahead, and is fetched in order;
    the wait for it is what remains when the step before has ended.
    """
    made_ns = truth.dataset_ns
    if planted.num_workers == 0:
        return sum(made_ns[1:])
    machinery_ns = sum(
        control.phases_ns[p] for p in (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER, Phase.OTHER)
    )
    steps = [
        forward + backward + optimizer + machinery_ns // planted.steps
        for forward, backward, optimizer in zip(
            truth.forward_ns, truth.backward_ns, truth.optimizer_ns, strict=True
        )
    ]
    return sum(_waits(made_ns, steps, planted.num_workers, ahead=2 * planted.num_workers)[1:])


def _waits(made_ns: Sequence[int], steps_ns: Sequence[int], workers: int, ahead: int) -> list[int]:
    """Replay the queue: return the wait for each batch."""
    free_ns = [0] * workers
    fetched_ns: list[int] = []
    waits: list[int] = []
    ready_ns = 0
    for i, making_ns in enumerate(made_ns):
        asked_ns = fetched_ns[i - ahead] if i >= ahead else 0
        worker = i % workers
        free_ns[worker] = max(free_ns[worker], asked_ns) + making_ns
        fetched = max(ready_ns, free_ns[worker])
        waits.append(fetched - ready_ns)
        fetched_ns.append(fetched)
        ready_ns = fetched + steps_ns[i]
    return waits


class _Dataset:
    """Samples that cost time; each carries the time that it took."""

    def __init__(self, kind: Kind, cost_s: float, length: int) -> None:
        self._kind, self._cost_s, self._length = kind, cost_s, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([spend(self._kind, self._cost_s)], dtype=torch.float64), 0


class _Costly(torch.autograd.Function):
    """An identity that costs time forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, planted: Planted, truth: Truth) -> Tensor:
        ctx.planted, ctx.truth = planted, truth
        truth.forward_ns.append(spend(planted.kind, planted.forward_s))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        ctx.truth.backward_ns.append(spend(ctx.planted.kind, ctx.planted.backward_s))
        return gradients[0], None, None


class _Model(nn.Module):
    """One weight, and the planted cost."""

    def __init__(self, planted: Planted, truth: Truth) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 2))
        self._planted, self._truth = planted, truth

    def forward(self, spent: Tensor) -> Tensor:
        """Map (1, 1) to logits (1, 2)."""
        self._truth.dataset_ns.append(int(spent.item()))
        costly: Tensor = _Costly.apply(  # type: ignore[no-untyped-call]
            self.weight, self._planted, self._truth
        )
        return costly.expand(len(spent), 2)


class _Optimizer(optim.SGD):
    """SGD that takes its time."""

    planted: Planted
    truth: Truth

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Spend the cost, then update."""
        self.truth.optimizer_ns.append(spend(self.planted.kind, self.planted.optimizer_s))
        super().step(closure)


def _build_job(planted: Planted, truth: Truth) -> Job:
    settings: RunSettings = build_settings(
        {"batch_size": 1, "num_workers": planted.num_workers, "device": "cpu", "timing": "host"}
    )
    dataset = _Dataset(planted.kind, planted.dataset_s, planted.steps)
    model = _Model(planted, truth)
    optimizer = _Optimizer(model.parameters(), lr=0.0)
    optimizer.planted, optimizer.truth = planted, truth
    mover = Mover(_CPU, channels_last=False)
    return Job(
        settings=settings,
        data=Data(dataset, None, "planted", "planted", "your own", verified=False),
        device=_CPU,
        mode="host",
        model=model,
        optimizer=optimizer,
        step=TrainStep(model, optimizer, mover, "float32"),
        mover=mover,
        loader=build_loader(dataset, settings.loader, 0, _CPU, train=True),
        test_loader=None,
        parameters=2,
    )


def _start() -> Cursor:
    return Cursor(epoch=1, steps=0, samples=0, correct=0, loss_sum=0.0, wall_ns=0, phases_ns={})


def _sleep(duration_s: float, start_ns: int) -> None:  # noqa: ARG001 - one signature for all
    sleep_s(duration_s)


def _compute(duration_s: float, start_ns: int) -> None:
    end_ns = start_ns + nanoseconds(duration_s)
    while read_ns() < end_ns:
        pass


def _copy_memory(duration_s: float, start_ns: int) -> None:
    end_ns = start_ns + nanoseconds(duration_s)
    source, target = _buffers()
    while read_ns() < end_ns:
        for part in range(0, len(source), 1 << 18):
            target[part : part + (1 << 18)] = source[part : part + (1 << 18)]
            if read_ns() >= end_ns:
                return


_SPENDERS: dict[Kind, Callable[[float, int], None]] = {
    "sleeping": _sleep,
    "busy": _compute,
    "memory": _copy_memory,
}


def _buffers(made: list[Any] = []) -> tuple[Any, Any]:  # noqa: B006 - made once a process
    if not made:
        made.extend([np.ones(_MEMORY_BYTES // 2, np.uint8), np.zeros(_MEMORY_BYTES // 2, np.uint8)])
    return made[0], made[1]


def configurations() -> Iterator[Planted]:
    """Yield the forty configurations of the full check."""
    kinds: tuple[Kind, ...] = ("sleeping", "busy", "memory")
    for kind in kinds:
        for cost_s in (0.005, 0.02):
            yield Planted(kind, dataset_s=cost_s)
            yield Planted(kind, forward_s=cost_s)
            yield Planted(kind, backward_s=cost_s)
            yield Planted(kind, optimizer_s=cost_s)
            yield Planted(kind, cost_s, cost_s / 2, cost_s, cost_s / 4)
    for workers in (1, 2, 4):
        yield Planted("sleeping", dataset_s=0.04, num_workers=workers, steps=24)
        yield Planted("sleeping", 0.04, 0.005, 0.01, 0.005, workers, steps=24)
        yield Planted("sleeping", 0.005, 0.01, 0.02, 0.01, workers, steps=24)
    yield Planted("busy", 0.02, 0.002, 0.004, 0.002, num_workers=1, steps=24)


def seconds_of(planted: Planted) -> float:
    """Return about how long a configuration takes, its control included."""
    step_s = planted.forward_s + planted.backward_s + planted.optimizer_s
    loading_s = planted.dataset_s / max(1, planted.num_workers)
    both_s = step_s + loading_s if planted.num_workers == 0 else max(step_s, loading_s)
    return planted.steps * both_s + 0.3
