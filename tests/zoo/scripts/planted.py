"""Costs of a known size: slept or computed, measured where they are spent, told at the end.

ZOO_COST=0 makes every cost nothing: what is left is what the script takes by itself.
"""

import json
import os
import time
from contextlib import contextmanager

import torch

SCALE = float(os.environ.get("ZOO_COST", "1"))

_spent_s = {}


def add(phase, seconds):
    """Count seconds that a stopwatch of the script's own has seen."""
    _spent_s[phase] = _spent_s.get(phase, 0.0) + seconds


@contextmanager
def planted(phase):
    """Measure a block, and count it for a phase."""
    start = time.perf_counter()
    try:
        yield
    finally:
        add(phase, time.perf_counter() - start)


def cost(phase, seconds):
    """Sleep; what passed is counted, not what was asked for."""
    if SCALE:
        with planted(phase):
            time.sleep(seconds * SCALE)


def busy(phase, seconds):
    """Keep a core busy."""
    if SCALE:
        with planted(phase):
            end = time.perf_counter() + seconds * SCALE
            while time.perf_counter() < end:
                pass


def loading(served, batch_size, seconds):
    """Sleep while a sample is read; the first batch of a pass belongs to its start."""
    cost("loader_start" if served < batch_size else "data_wait", seconds)


def watch(loader):
    """Yield a loader's batches, with a stopwatch around every wait, the last one included."""
    phase = "loader_start"
    start = time.perf_counter()
    iterator = iter(loader)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            add("loader_end", time.perf_counter() - start)
            return
        add(phase, time.perf_counter() - start)
        yield batch
        phase = "data_wait"
        start = time.perf_counter()


class _SlowGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, seconds):
        ctx.seconds = seconds
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        cost("backward", ctx.seconds)
        return gradient, None


def slow_gradient(x, seconds):
    """Return x; its gradient takes that long."""
    return _SlowGradient.apply(x, seconds)


def tell(steps, epochs, bottleneck, samples=None, loss=None):
    """Print the truth as the last line of standard output.

    Samples are those of all training batches, the loss is the mean of the last epoch's steps;
    a script that keeps neither leaves them out.
    """
    truth = {
        "steps": steps,
        "epochs": epochs,
        "bottleneck": bottleneck,
        "samples": samples,
        "loss": loss,
        "planted_s": {phase: round(seconds, 6) for phase, seconds in _spent_s.items()},
    }
    print("TRUTH " + json.dumps(truth), flush=True)
