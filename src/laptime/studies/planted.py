"""Trainings with planted costs, whose true times are known: what the measuring is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn, optim

from laptime.data.batches import Batch
from laptime.data.dataset import Data
from laptime.data.loaders import Loader, build_loader
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
    steps: int = 4

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

    def without_cost(self) -> Planted:
        """Return the control: no cost anywhere, so that only the machinery takes time."""
        return replace(self, dataset_s=0.0, forward_s=0.0, backward_s=0.0, optimizer_s=0.0)


@dataclass
class Truth:
    """What was really spent, by readings of the clock beside and apart from the ledger's.

    Values are nanoseconds, one a step. The clock is one for all processes of a machine.
    """

    made_from_ns: list[int] = field(default_factory=list)
    made_until_ns: list[int] = field(default_factory=list)
    forward_ns: list[int] = field(default_factory=list)
    backward_ns: list[int] = field(default_factory=list)
    optimizer_ns: list[int] = field(default_factory=list)
    fetched_ns: list[int] = field(default_factory=list)
    """In ``next()`` for each batch, the worker's making of it or not."""

    def phases_ns(self, num_workers: int) -> dict[Phase, int]:
        """Return the time spent by phase, over the epoch."""
        return {
            Phase.DATA_WAIT: self.wait_ns(num_workers),
            Phase.FORWARD: sum(self.forward_ns),
            Phase.BACKWARD: sum(self.backward_ns),
            Phase.OPTIMIZER: sum(self.optimizer_ns),
        }

    def wait_ns(self, num_workers: int) -> int:
        """Return the wait for all batches but the first.

        Without workers the training waits while it makes them itself. With workers it waits in
        ``next()``, whatever the reason: a batch that is made may still have to be fetched from a
        worker that is busy with another.
        """
        if num_workers:
            return sum(self.fetched_ns[1:])
        pairs = zip(self.made_from_ns[1:], self.made_until_ns[1:], strict=True)
        return sum(until_ns - from_ns for from_ns, until_ns in pairs)


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
    record, _ = Epoch(job, run, Silence(), lambda: False, _start(), cold=True).run()
    return record, truth


def compare(planted: Planted, directory: Path) -> list[Comparison]:
    """Run a configuration and its control; compare every phase that a cost may be planted in.

    The control of a phase is what the same phase holds beyond the truth without the cost.
    """
    record, truth = run_planted(planted, directory / "planted")
    control, control_truth = run_planted(planted.without_cost(), directory / "control")
    workers = planted.num_workers
    true_ns, control_true_ns = truth.phases_ns(workers), control_truth.phases_ns(workers)
    control_ns = {phase: control.phases_ns[phase] - control_true_ns[phase] for phase in true_ns}
    return [
        Comparison(planted.name, phase, spent_ns, record.phases_ns[phase], control_ns[phase])
        for phase, spent_ns in true_ns.items()
    ]


class _Dataset:
    """Samples that cost time; each carries the time that it took."""

    def __init__(self, kind: Kind, cost_s: float, length: int) -> None:
        self._kind, self._cost_s, self._length = kind, cost_s, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from_ns = read_ns()
        spend(self._kind, self._cost_s)
        return torch.tensor([from_ns, read_ns()], dtype=torch.float64), 0


class _StampedLoader:
    """A loader with a clock of its own around every ``next()``."""

    def __init__(self, loader: Loader, truth: Truth) -> None:
        self._loader, self._truth = loader, truth
        self.num_samples, self.num_steps = loader.num_samples, loader.num_steps
        self.num_workers = loader.num_workers

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        batches = self._loader.batches(epoch, first_step)
        while True:
            from_ns = read_ns()
            batch = next(batches, None)
            if batch is None:
                return
            self._truth.fetched_ns.append(read_ns() - from_ns)
            yield batch

    def close(self) -> None:
        self._loader.close()


class _Costly(torch.autograd.Function):
    """An identity that costs time forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, planted: Planted, truth: Truth) -> Tensor:
        ctx.planted, ctx.truth = planted, truth
        spend(planted.kind, planted.forward_s)
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
        """Map (1, 2), when the sample was begun and made, to logits (1, 2)."""
        from_ns = read_ns()
        self._truth.made_from_ns.append(int(spent[0, 0]))
        self._truth.made_until_ns.append(int(spent[0, 1]))
        costly: Tensor = _Costly.apply(  # type: ignore[no-untyped-call]
            self.weight, self._planted, self._truth
        )
        logits = costly.expand(len(spent), 2)
        self._truth.forward_ns.append(read_ns() - from_ns)
        return logits


class _Optimizer(optim.SGD):
    """SGD that takes its time."""

    planted: Planted
    truth: Truth

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Spend the cost, then update."""
        from_ns = read_ns()
        spend(self.planted.kind, self.planted.optimizer_s)
        super().step(closure)
        self.truth.optimizer_ns.append(read_ns() - from_ns)


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
        loader=_StampedLoader(build_loader(dataset, settings.loader, 0, _CPU, train=True), truth),
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
        for cost_s in (0.01, 0.04):
            yield Planted(kind, dataset_s=cost_s)
            yield Planted(kind, forward_s=cost_s)
            yield Planted(kind, backward_s=cost_s)
            yield Planted(kind, optimizer_s=cost_s)
            yield Planted(kind, cost_s, cost_s / 2, cost_s, cost_s / 4)
    for workers in (1, 2, 4):
        yield Planted("sleeping", dataset_s=0.16, num_workers=workers, steps=8)
        yield Planted("sleeping", 0.48, 0.02, 0.04, 0.02, workers, steps=8)
        yield Planted("sleeping", 0.01, 0.02, 0.04, 0.02, workers, steps=8)
    yield Planted("busy", 0.16, 0.02, 0.04, 0.02, num_workers=1, steps=8)
