"""The training step: its phases are named here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from laptime.data.augment import normalise
from laptime.data.batches import Batch
from laptime.host_memory import keep_freed_memory
from laptime.phase import Phase
from laptime.settings import TrainingSettings

Enter = Callable[[Phase], Phase]


@dataclass(frozen=True)
class StepResult:
    """What a step computed; the tensors stay on the device until somebody asks."""

    loss: Tensor  # (), mean over the batch
    correct: Tensor  # (), samples whose largest logit was the label's
    samples: int


class Mover:
    """Bring batches to the device, in the memory format of the model.

    Args:
        device: Where the model is.
        channels_last: Its memory format.
        normalises: Whether uint8 inputs are our images, to be normalised where they arrive: a
            user's own stay as they are.
    """

    def __init__(
        self, device: torch.device, *, channels_last: bool, normalises: bool = False
    ) -> None:
        self.device, self._normalises = device, normalises
        self._format = torch.channels_last if channels_last else torch.preserve_format

    def __call__(self, batch: Batch) -> Batch:
        """Return inputs and labels on the device; copies from pinned memory do not block."""
        inputs, labels = batch
        channels_last = self._format is torch.channels_last and inputs.dim() == 4
        memory_format = self._format if channels_last else torch.preserve_format
        inputs = inputs.to(self.device, non_blocking=True, memory_format=memory_format)
        if self._normalises and inputs.dtype is torch.uint8:
            inputs = normalise(inputs)
        return inputs, labels.to(self.device, non_blocking=True)


class TrainStep:
    """One update: transfer, forward with the loss, backward, optimizer.

    Loss and accuracy are those of the weights before the update, in training mode.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        mover: Mover,
        precision: str,
    ) -> None:
        self._model, self._optimizer, self._move = model, optimizer, mover
        self._autocast = autocast(mover.device, precision)
        # A CPU has nothing to transfer: the phase stays 0 and prints n/a.
        self._first = Phase.FORWARD if mover.device.type == "cpu" else Phase.TRANSFER

    def __call__(self, batch: Batch, enter: Enter) -> StepResult:
        """Train on one batch; ``enter`` is told of each phase as it begins."""
        enter(self._first)
        inputs, labels = self._move(batch)
        if self._first is Phase.TRANSFER:
            enter(Phase.FORWARD)
        with self._autocast:
            logits = self._model(inputs)  # (batch, num_classes)
            loss = functional.cross_entropy(logits, labels)
        result = StepResult(loss.detach(), num_correct(logits, labels), len(labels))
        enter(Phase.BACKWARD)
        loss.backward()  # type: ignore[no-untyped-call]
        enter(Phase.OPTIMIZER)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        enter(Phase.OTHER)
        return result


def evaluate(
    model: nn.Module, batches: Iterable[Batch], mover: Mover, precision: str
) -> tuple[float, int, int]:
    """Return mean loss, correct answers and samples of a pass in evaluation mode.

    The loss weighs every sample equally and is summed in double precision.
    """
    losses: list[Tensor] = []
    correct: list[Tensor] = []
    samples = 0
    model.eval()
    with torch.no_grad(), autocast(mover.device, precision):
        for batch in batches:
            inputs, labels = mover(batch)
            logits = model(inputs)
            losses.append(functional.cross_entropy(logits, labels).double() * len(labels))
            correct.append(num_correct(logits, labels))
            samples += len(labels)
    model.train()
    return float(torch.stack(losses).sum()) / samples, int(torch.stack(correct).sum()), samples


def num_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many samples have their largest logit at the label, without waiting for it."""
    return (logits.detach().argmax(1) == labels).sum()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context that a forward pass runs in."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def set_arithmetic(settings: TrainingSettings) -> None:
    """Set torch's process-wide switches: precision, determinism, algorithms, threads, memory."""
    torch.set_float32_matmul_precision("high" if settings.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = settings.precision == "tf32"
    if torch.get_deterministic_debug_mode() != (2 if settings.deterministic else 0):
        torch.use_deterministic_algorithms(settings.deterministic)  # imports torch's compiler
    torch.backends.cudnn.deterministic = settings.deterministic
    torch.backends.cudnn.benchmark = settings.cudnn_benchmark
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if settings.keep_memory:
        keep_freed_memory()
