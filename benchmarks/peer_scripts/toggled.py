"""Train while the recorder is on, off and gone in turns: what it costs, in one process.

It is what peers.py starts under ``laptime run``; ``toggled.py TIMES MODULES BLOCKS STEPS`` writes
the microseconds a step of every window to the file TIMES, by clock and arm. ``off`` leaves its
hooks in place, which then do nothing; ``gone`` puts torch back as it was. The processor's clock
is that of the one thread that all happens in: neighbours on the machine move it less.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import optimizer as hooks_of
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from laptime.attach.recording import current

WARMUP_STEPS = 200
ARMS = ("on", "off", "gone")
CLOCKS = {"wall": time.perf_counter_ns, "cpu": time.thread_time_ns}


class Rows(Dataset[tuple[Tensor, int]]):
    """As many samples as are asked for, out of a few."""

    def __init__(self, length: int) -> None:
        self.inputs = torch.randn(512, 128)
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index % 512], index % 10


def replaced() -> Iterator[tuple[Any, str, Any]]:
    """Return what the recorder has put into torch: the owner, the name, the function."""
    owners = [torch, torch.autograd, torch.Tensor, nn.Module, nn.Sequential, nn.utils]
    owners += [torch.optim.Optimizer, DataLoader, _BaseDataLoaderIter]
    for owner in owners:
        for name, value in list(vars(owner).items()):
            is_function = isinstance(value, FunctionType) and hasattr(value, "__wrapped__")
            if is_function and value.__globals__["__name__"].startswith("laptime."):
                yield owner, name, value


def build_switch() -> Callable[[str], None]:
    """Return what turns the recorder on, off, or takes it out."""
    recorder = current().recorder  # type: ignore[union-attr]
    thread, found = recorder.thread, list(replaced())
    of_steps: list[Any] = [
        hooks_of._global_optimizer_pre_hooks, hooks_of._global_optimizer_post_hooks,
    ]  # fmt: skip
    kept = [dict(hooks) for hooks in of_steps]

    def switch(arm: str) -> None:
        recorder.thread = thread if arm == "on" else -1
        for owner, name, function in found:
            setattr(owner, name, function.__wrapped__ if arm == "gone" else function)
        for hooks, were in zip(of_steps, kept, strict=True):
            hooks.clear()
            hooks.update({} if arm == "gone" else were)

    return switch


def nothing() -> None:
    """Have nothing to settle."""


def main() -> None:
    times, modules, blocks, steps = sys.argv[1], *map(int, sys.argv[2:])
    torch.manual_seed(0)
    torch.set_num_threads(1)
    length = 32 * (WARMUP_STEPS + blocks * steps * len(ARMS))
    layers: list[nn.Module] = [nn.Linear(128, 128) for _ in range(3)]
    layers += [nn.Identity() for _ in range(modules - 4)]
    model = nn.Sequential(*layers, nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    batches = iter(DataLoader(Rows(length), batch_size=32))

    def train(count: int, settle: Callable[[], None]) -> dict[str, float]:
        start = {clock: read() for clock, read in CLOCKS.items()}
        for _ in range(count):
            inputs, labels = next(batches)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
        settle()
        return {clock: (read() - start[clock]) / count / 1e3 for clock, read in CLOCKS.items()}

    train(WARMUP_STEPS, nothing)
    switch, order = build_switch(), random.Random(0)
    settle = current().recorder.catch_up  # type: ignore[union-attr]
    found: dict[str, dict[str, list[float]]] = {c: {arm: [] for arm in ARMS} for c in CLOCKS}
    for _ in range(blocks):
        for arm in order.sample(ARMS, len(ARMS)):
            switch(arm)
            # What the recorder puts off is part of what it costs.
            for clock, value in train(steps, settle if arm == "on" else nothing).items():
                found[clock][arm].append(value)
    switch("on")
    Path(times).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
