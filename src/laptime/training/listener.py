"""What a run tells while it goes on, to whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from laptime.record import EpochRecord, RunRecord


@dataclass(frozen=True)
class Progress:
    """Where an epoch stands after some of its steps."""

    epoch: int
    epochs: int
    step: int
    num_steps: int
    loss: float | None
    """Mean over the samples of this epoch so far."""
    correct: int
    samples: int
    elapsed_s: float
    """Of this epoch, in this process."""
    step_s: float
    """Mean over the steps since the first batch arrived."""
    samples_per_s: float
    loading_share: float
    """Of the elapsed time, as exposed to the host; 0 to 1."""

    @property
    def epoch_left_s(self) -> float:
        """Time to the end of the epoch's steps, at the pace so far."""
        return (self.num_steps - self.step) * self.step_s

    @property
    def epoch_s(self) -> float:
        """Projected time of the whole epoch."""
        return self.elapsed_s + self.epoch_left_s

    @property
    def run_left_s(self) -> float:
        """Projected time to the end of the run."""
        return self.epoch_left_s + (self.epochs - self.epoch) * self.num_steps * self.step_s


class Listener(Protocol):
    """Whoever shows a run; called in the phase ``logging``, so keep it short."""

    def run_started(self, record: RunRecord, model: str) -> None:
        """Everything is built; the first epoch begins."""

    def progressed(self, progress: Progress) -> None:
        """Some steps are done: about once a second."""

    def epoch_ended(self, record: EpochRecord) -> None:
        """An epoch is stored."""

    def warned(self, text: str) -> None:
        """Something is worth a line."""


class Silence:
    """A listener that says nothing."""

    def run_started(self, record: RunRecord, model: str) -> None:
        """Say nothing."""

    def progressed(self, progress: Progress) -> None:
        """Say nothing."""

    def epoch_ended(self, record: EpochRecord) -> None:
        """Say nothing."""

    def warned(self, text: str) -> None:
        """Say nothing."""
