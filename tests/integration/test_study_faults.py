"""A study of sixty runs of which thirty end badly: sixty outcomes, and a result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FACTORY = """
import os, signal, torch
from torch import nn
from laptime.timing.clock import sleep_s

NAMES = ("sgd", "nesterov", "adagrad", "adadelta", "adam", "adamw")

class Net(nn.Module):
    '''Ends as its seed says; the arm is told apart by nothing, so that any arm may meet any end.'''
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3072, 10)
        self.seed = torch.initial_seed()
        self.steps = 0
    def forward(self, images):
        logits = self.linear(images.flatten(1))
        if not self.training:
            return logits
        self.steps += 1
        if self.steps == 3:
            if self.seed in (0, 1):
                raise MemoryError("DefaultCPUAllocator: not enough memory")
            if self.seed == 2:
                return logits * float("nan")
            if self.seed == 3:
                sleep_s(1000)
            if self.seed == 4:
                os.kill(os.getpid(), signal.SIGABRT)
        return logits

def net():
    return Net()
"""


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_sixty_runs_of_which_thirty_end_badly_give_sixty_outcomes_and_a_result(
    tmp_path: Path,
) -> None:
    (tmp_path / "net.py").write_text(FACTORY)
    command = (
        f"study optimizers --model {tmp_path}/net.py:net --samples 256 --batch-size 32 --epochs 1 "
        f"--num-workers 0 --device cpu --lr 0.001 --seed 0 --seeds 10 --blocks 1 --turns 2 "
        f"--timeout 20 --optimizers sgd,nesterov,adagrad,adadelta,adam,adamw --json --runs-dir"
    ).split()
    done = subprocess.run(
        [sys.executable, "-m", "laptime", *command, str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    ends = [
        r["status"] for arm in record["arms"] for r in arm["replicates"] if r["seed"] is not None
    ]
    counts = {status: ends.count(status) for status in sorted(set(ends))}
    print(counts)
    assert counts == {
        "completed": 30,
        "diverged": 6,
        "killed": 6,
        "out_of_memory": 12,
        "timed_out": 6,
    }
    assert all(
        arm["accuracy"]["n"] == 5 for arm in record["arms"] if not arm["name"].endswith("again")
    )
