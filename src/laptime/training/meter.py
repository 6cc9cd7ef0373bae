"""Losses and correct answers of an epoch, brought over from the device a window at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from laptime.record import StepRecord
from laptime.training.step import StepResult


@dataclass
class Meter:
    """Sum an epoch's steps; the loss weighs each batch by the samples it holds."""

    epoch: int
    steps: int = 0
    samples: int = 0
    correct: int = 0
    loss_sum: float = 0.0
    last_loss: float | None = None
    diverged_at: int | None = None
    """The first step whose loss was not finite."""
    _pending: list[StepResult] = field(default_factory=list)

    def add(self, result: StepResult) -> None:
        """Keep a step's tensors without waiting for them."""
        self._pending.append(result)

    def flush(self) -> list[StepRecord]:
        """Bring what is pending to the host, in one crossing; return it as records."""
        if not self._pending:
            return []
        losses = torch.stack([result.loss for result in self._pending]).tolist()
        corrects = torch.stack([result.correct for result in self._pending]).tolist()
        sizes = [result.samples for result in self._pending]
        self._pending.clear()
        return [self._count(*step) for step in zip(losses, corrects, sizes, strict=True)]

    @property
    def loss(self) -> float | None:
        """Mean over all samples so far; None when it is not finite or there are none."""
        return finite(self.loss_sum / self.samples) if self.samples else None

    @property
    def accuracy(self) -> float:
        """Fraction correct so far."""
        return self.correct / self.samples if self.samples else 0.0

    def _count(self, loss: float, correct: int, samples: int) -> StepRecord:
        self.steps += 1
        self.samples += samples
        self.correct += correct
        self.loss_sum += loss * samples
        self.last_loss = finite(loss)
        if self.last_loss is None and self.diverged_at is None:
            self.diverged_at = self.steps
        return StepRecord(
            epoch=self.epoch, step=self.steps, loss=self.last_loss, correct=correct, samples=samples
        )


def finite(value: float) -> float | None:
    """Return the value, or None where JSON has no word for it."""
    return value if math.isfinite(value) else None
