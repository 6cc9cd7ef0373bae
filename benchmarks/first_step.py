"""Run ``python benchmarks/first_step.py [DATA]``: from torch's import to the first step of a run.

Whole processes in random order: ``laptime train`` on 50,000 drawn images, on 5,000, on the images
of a directory where one is given, and a script that imports torch and makes an optimizer. That
import and that optimizer are torch's own, and every script waits for them: the first optimizer of
a process imports torch's compiler. It reports, and does not pass or fail.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from overhead import SEED, bootstrap_interval, write_result

ROUNDS = 10
TARGET_S = 1.5

_OPTIMIZER = """
import json, time
start = time.perf_counter()
import torch
imported = time.perf_counter()
torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)
print(json.dumps({"import_s": imported - start, "after_s": time.perf_counter() - imported}))
"""

_TRAIN = """
import importlib.machinery, json, os, sys, time
found = {}

class Torch:
    def find_spec(self, name, path, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def timed(module):
            found["start"] = time.perf_counter()
            execute(module)
            found["imported"] = time.perf_counter()
        spec.loader.exec_module = timed
        return spec

def first_step(step, batch, enter):
    now = time.perf_counter()
    print(json.dumps({"import_s": found["imported"] - found["start"],
                      "after_s": now - found["imported"]}), file=sys.__stdout__, flush=True)
    os._exit(0)

sys.meta_path.insert(0, Torch())
from laptime.cli.main import app
import laptime.training.step
laptime.training.step.TrainStep.__call__ = first_step
app.main(sys.argv[1:], prog_name="laptime")
"""
"""Says when the first batch has arrived and its step begins; what torch imports is imported before
laptime's own modules that need it."""


def ways() -> dict[str, list[str]]:
    """Return the command of each way; the data of the last one are named by the caller."""
    drawn = ["train", "--data", "synthetic"]
    found = {
        "torch's own optimizer": ["-c", _OPTIMIZER],
        "laptime train, 50,000 drawn images": ["-c", _TRAIN, *drawn],
        "laptime train, 5,000 drawn images": ["-c", _TRAIN, *drawn, "--samples", "5000"],
    }
    if len(sys.argv) > 1:
        found["laptime train, CIFAR-10"] = ["-c", _TRAIN, "train", "--data", sys.argv[1]]
    return found


def measure(words: list[str]) -> dict[str, float]:
    """Return what one process says."""
    with tempfile.TemporaryDirectory(prefix="laptime-bench-") as scratch:
        given = ["--runs-dir", scratch] if "train" in words else []
        done = subprocess.run(
            [sys.executable, *words, *given], capture_output=True, text=True, check=True
        )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    order = random.Random(SEED)
    commands = ways()
    for words in commands.values():
        measure(words)  # compiles what is not compiled yet
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name in order.sample(list(commands), len(commands)):
            rows[name].append(measure(commands[name]))
    found: dict[str, Any] = {}
    print(f"seconds from torch's import to the first step, {ROUNDS} processes each")
    for name, taken in rows.items():
        after = [row["after_s"] for row in taken]
        median, (low, high) = statistics.median(after), bootstrap_interval(np.array(after), medians)
        found[name] = {
            "after_s": after, "import_s": [row["import_s"] for row in taken],
            "median": median, "interval": [low, high],
        }  # fmt: skip
        print(f"{name:<38}{median:6.2f}  {low:.2f} to {high:.2f}")
    write_result(
        "first_step.json",
        {
            "what": "seconds from torch's import to the first step", "n": ROUNDS, "seed": SEED,
            "target_s": TARGET_S, "ways": found,
        },
    )  # fmt: skip


def medians(resampled: Any) -> Any:
    """Return one median a resample."""
    return np.median(resampled, axis=1)


if __name__ == "__main__":
    main()
