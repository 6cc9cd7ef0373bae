from __future__ import annotations

import pytest
import torch
from torch import nn

from laptime.census import SampleRecord
from laptime.inspection.inspect import inspect
from laptime.inspection.optimizers import choose_optimizers
from laptime.inspection.peak import measure_peak
from laptime.settings import OptimizerSettings, build_settings

SAMPLE = SampleRecord(shape=(8,))
CPU = torch.device("cpu")


class FakeAllocator:
    """Counts steps instead of bytes: each peak is a hundred more than the last."""

    def __init__(self) -> None:
        self.resets = 0

    def allocated_bytes(self) -> int:
        return 30

    def reset_peak(self) -> None:
        self.resets += 1

    def peak_bytes(self) -> int:
        return 100 * self.resets + 30


def test_the_peak_is_that_of_the_second_step_without_what_was_there_before() -> None:
    allocator = FakeAllocator()
    model = nn.Linear(8, 2)
    before = model.weight.clone()

    assert measure_peak(model, SAMPLE, 4, OptimizerSettings(), CPU, allocator) == 200
    assert not torch.equal(model.weight, before)


def test_a_step_that_does_not_fit_has_no_peak() -> None:
    class Hungry(nn.Linear):
        def backward_raises(self, *_: object) -> None:
            raise torch.OutOfMemoryError("too much")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = super().forward(x)
            out.register_hook(self.backward_raises)
            return out

    model = Hungry(8, 2)

    assert measure_peak(model, SAMPLE, 4, OptimizerSettings(), CPU, FakeAllocator()) is None


@pytest.mark.gpu
def test_the_peak_of_a_gpu_is_about_what_is_estimated() -> None:
    settings = build_settings({"device": "cuda", "batch_size": 128})
    asked = choose_optimizers(("sgd",), settings.optimizer)

    found = inspect(settings, asked)

    estimated = sum(found.census.memory_bytes(128, "sgd").values())
    assert found.measured_bytes is not None
    assert 0.5 < found.measured_bytes / estimated < 2
    assert len(found.roofs) == 3
