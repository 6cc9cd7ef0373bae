"""A training with steps of one to two milliseconds, which times itself in blocks of steps.

It is what peers.py starts, plain and under each tool; ``python short_steps.py TIMES THREADS
BLOCKS STEPS`` writes the microseconds a step of each block to the file TIMES, by the wall clock
and by the processor's clock of the thread that trains.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

WARMUP_STEPS = 200


class Rows(Dataset[tuple[Tensor, int]]):
    """As many samples as are asked for, out of a few."""

    def __init__(self, length: int) -> None:
        self.inputs = torch.randn(512, 256)
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index % 512], index % 10


times, threads, blocks, steps = sys.argv[1], *map(int, sys.argv[2:])
torch.manual_seed(0)
torch.set_num_threads(threads)
loader = DataLoader(Rows(32 * (WARMUP_STEPS + blocks * steps)), batch_size=32)
layers: list[nn.Module]
layers = [layer for _ in range(6) for layer in (nn.Linear(256, 256), nn.ReLU())]
model = nn.Sequential(*layers, nn.Linear(256, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def train(inputs: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()


def is_on(number: int) -> bool:
    """Tell whether lines that a tool adds to a step act in it: in every second block."""
    return (number - WARMUP_STEPS - 1) // steps % 2 == 0


ends = []
for number, (inputs, labels) in enumerate(loader, 1):
    train(inputs, labels)
    if number >= WARMUP_STEPS and (number - WARMUP_STEPS) % steps == 0:
        ends.append({"wall": time.perf_counter_ns(), "cpu": time.thread_time_ns()})

block_us = {
    clock: [(end[clock] - start[clock]) / steps / 1e3 for start, end in itertools.pairwise(ends)]
    for clock in ("wall", "cpu")
}
Path(times).write_text(json.dumps(block_us))
print(f"{1e6 / statistics.median(block_us['wall']):.0f} steps/s")
