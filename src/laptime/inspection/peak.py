"""The memory of a real training step, as the allocator of a CUDA device sees it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from laptime.census import SampleRecord
from laptime.inspection.passes import loss_of
from laptime.inspection.samples import answer, draw
from laptime.settings import OptimizerSettings
from laptime.training.optimizers import build_optimizer


class Allocator(Protocol):
    """What knows how much memory a device has given out."""

    def allocated_bytes(self) -> int:
        """Return the bytes given out now."""

    def reset_peak(self) -> None:
        """Forget the peak seen so far."""

    def peak_bytes(self) -> int:
        """Return the most bytes given out at once since the peak was forgotten."""


class CudaAllocator:
    """The caching allocator of one CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def allocated_bytes(self) -> int:
        """Return the bytes of live tensors."""
        return torch.cuda.memory_allocated(self._device)

    def reset_peak(self) -> None:
        """Start the peak anew from what is live."""
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak_bytes(self) -> int:
        """Return the most bytes of live tensors at once."""
        return torch.cuda.max_memory_allocated(self._device)


def measure_peak(
    model: nn.Module,
    sample: SampleRecord,
    batch_size: int,
    settings: OptimizerSettings,
    device: torch.device,
    allocator: Allocator,
) -> int | None:
    """Return the most bytes that a step holds at once, model and state included.

    The second of two steps, because the first begins without optimizer state. None where a step
    with such a batch does not fit. The model stays on the device, changed by the steps.

    Raises:
        ModelError: The model does not take the batch there.
    """
    before = allocator.allocated_bytes()
    try:
        model.to(device).train()
        optimizer = build_optimizer(model, settings)
        for _ in range(2):
            allocator.reset_peak()
            optimizer.zero_grad(set_to_none=True)
            batch = draw(sample, batch_size, model).to(device)
            loss_of(answer(model, batch)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    except torch.OutOfMemoryError:
        return None
    return allocator.peak_bytes() - before
