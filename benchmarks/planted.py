"""Data and models with a planted cost a sample or a step, for studies whose answer is known.

Each factory is named in a setting: ``--data benchmarks/planted.py:sleep_100``. The numbers are
relative: ``_110`` costs a tenth more than ``_100``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from laptime.timing.clock import sleep_s

SAMPLES = 4096
WORK_MS = 1.0
"""Busy or asleep, a sample."""

_REPETITIONS_PER_MS = 1400  # about, on a 2-core EPYC; only the ratio between arms matters


def work(milliseconds: float) -> None:
    """Use one CPU for about so long: a fixed number of hashes, not a fixed time."""
    hashlib.pbkdf2_hmac("sha256", b"planted", b"cost", round(milliseconds * _REPETITIONS_PER_MS))


def rest(milliseconds: float) -> None:
    """Use no CPU for so long."""
    sleep_s(milliseconds / 1e3)


class Planted(torch.utils.data.Dataset[Any]):
    """Samples of sixteen numbers, each with a cost."""

    def __init__(self, spend: Callable[[float], None], milliseconds: float) -> None:
        self._spend, self._milliseconds = spend, milliseconds

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self._milliseconds:
            self._spend(self._milliseconds)
        return torch.full((16,), index / SAMPLES), index % 4


def busy_100() -> Planted:
    return Planted(work, WORK_MS)


def busy_110() -> Planted:
    return Planted(work, WORK_MS * 1.1)


def sleep_100() -> Planted:
    return Planted(rest, WORK_MS)


def sleep_110() -> Planted:
    return Planted(rest, WORK_MS * 1.1)


def free() -> Planted:
    return Planted(rest, 0.0)


class Slow(nn.Module):
    """A linear layer with a planted cost in forward."""

    def __init__(self, spend: Callable[[float], None], milliseconds: float) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 4)
        self._spend, self._milliseconds = spend, milliseconds

    def forward(self, inputs: Tensor) -> Tensor:
        if self._milliseconds:
            self._spend(self._milliseconds)
        logits: Tensor = self.linear(inputs)
        return logits


def light() -> Slow:
    return Slow(work, 0.0)


def model_100() -> Slow:
    return Slow(work, 20.0)


def model_110() -> Slow:
    return Slow(work, 22.0)


def nap_model() -> Slow:
    return Slow(rest, 8.0)


def __getattr__(name: str) -> Callable[[], Planted]:
    """Return the factory ``nap_N``: N tenths of a millisecond a batch of 16, asleep."""
    if not name.startswith("nap_"):
        raise AttributeError(name)
    return lambda: Planted(rest, int(name[4:]) / 160)
