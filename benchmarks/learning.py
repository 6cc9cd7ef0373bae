"""Run ``python benchmarks/learning.py [DATA]``: does the preset fast learn as well as the lab?

The same job with both presets and five seeds each, in processes of its own: the last epoch's
training loss and the test accuracy. A seed has the same first weights and the same batches in both,
so that what differs within a seed is the preset, and what differs between seeds of the lab is what
luck alone does. Said is whether the mean difference is within one standard deviation of the lab's
seeds, and its 95 % interval, which five seeds leave wider than that: what is rounded otherwise
grows to another training of the same kind. It reports, and does not pass or fail.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from laptime.presets import PRESETS
from laptime.statistics.intervals import mean_interval
from overhead import write_result

SEEDS = range(5)
WIDTH, SAMPLES, EPOCHS = 8, 2_560, 8
MEASURES = ("training loss", "test accuracy")


def learned(preset: str, seed: int, data: str) -> dict[str, float]:
    """Return what one run has learned at its end."""
    with tempfile.TemporaryDirectory(prefix="laptime-bench-") as scratch:
        words = ["train", "--preset", preset, "--seed", str(seed), "--data", data, "--evaluate"]
        words += ["--width", str(WIDTH), "--samples", str(SAMPLES), "--epochs", str(EPOCHS)]
        words += ["--schedule", "onecycle", "--device", "cpu", "--json", "--runs-dir", scratch]
        environ = {**os.environ, "XDG_CACHE_HOME": scratch}  # no tuning that somebody has kept
        done = subprocess.run(
            [sys.executable, "-m", "laptime", *words],
            env=environ, capture_output=True, text=True, check=True,
        )  # fmt: skip
    last = json.loads(done.stdout)["epochs"][-1]
    accuracy = last["test_correct"] / last["test_samples"]
    return {"training loss": last["loss"], "test accuracy": accuracy}


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else "synthetic"
    rows: dict[str, list[dict[str, float]]] = {preset: [] for preset in PRESETS}
    for seed in SEEDS:
        for preset in PRESETS:
            rows[preset].append(learned(preset, seed, data))
            print(f"seed {seed}, {preset}: {rows[preset][-1]}", flush=True)
    found: dict[str, Any] = {}
    for name in MEASURES:
        lab, fast = (np.array([row[name] for row in rows[preset]]) for preset in PRESETS)
        differs = mean_interval(list(fast - lab))
        spread = statistics.stdev(lab)
        assert differs.estimate is not None  # there are five seeds
        found[name] = {
            "lab": lab.tolist(), "fast": fast.tolist(), "deviation_of_lab": spread,
            "mean_difference": differs.estimate, "interval": [differs.low, differs.high],
        }  # fmt: skip
        print(
            f"{name}: lab {np.mean(lab):.4f}, fast {np.mean(fast):.4f}; fast - lab"
            f" {differs.estimate:+.4f} [{differs.low:+.4f}, {differs.high:+.4f}]; seeds of the lab"
            f" differ by {spread:.4f} (standard deviation): "
            + ("within it" if abs(differs.estimate) < spread else "beyond it")
        )
    write_result(
        "learning.json",
        {
            "what": "what presets have learned at the end", "seeds": list(SEEDS),
            "width": WIDTH, "samples": SAMPLES, "epochs": EPOCHS,
            "data": "embedded set" if data == "synthetic" else "CIFAR-10", "measures": found,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
