"""python benchmarks/gpu_speed.py DIRECTORY: what the runs of gpu_checks.sh say of speed.

Reads ``inspect-bf16.json``, ``lab.json``, ``fast.json``, ``graphs.json`` and ``seed-*.json`` in the
directory, as far as they are there; prints epochs, FLOP/s against the roof that was measured there,
and how long the training took to 94 % of the test images, evaluation left out; writes the same to
speed.json.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

TARGET = 0.94
PRESETS = ("lab", "fast", "graphs")
"""Runs of presets; graphs is fast with ``--cuda-graphs``."""


def read(path: Path) -> dict[str, Any] | None:
    """Return a document; None where there is none, because its check failed."""
    if not path.exists() or not path.stat().st_size:
        return None
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def epochs_of(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the epochs that count: all but the cold one."""
    return [epoch for epoch in run["epochs"] if not epoch["cold"]]


def speed_of(run: dict[str, Any], flops: float) -> dict[str, Any]:
    """Return the epochs of a run in seconds, and its rates in the fastest of them."""
    epochs = epochs_of(run)
    spent_s = [epoch["total_s"] for epoch in epochs]
    samples = epochs[0]["samples"]
    return {
        "epoch_s": spent_s,
        "median_s": statistics.median(spent_s),
        "samples_per_s": samples / statistics.median(spent_s),
        "flop_per_s": flops * samples / statistics.median(spent_s),
    }


def accuracy_of(epoch: dict[str, Any]) -> float:
    """Return the fraction of the test images that were right; 0 where there were none."""
    samples = epoch["test_samples"]
    return float(epoch["test_correct"] / samples) if samples else 0.0


def seconds_to_target(run: dict[str, Any]) -> float | None:
    """Return the training time up to the first epoch that reached the target; None: none did."""
    spent_s = 0.0
    for epoch in run["epochs"]:
        spent_s += float(epoch["total_s"] - epoch["phases_ns"]["evaluation"] / 1e9)
        if accuracy_of(epoch) >= TARGET:
            return spent_s
    return None


def main(directory: str) -> int:
    """Print what there is; return the exit status."""
    home, found = Path(directory), {}
    inspected = read(home / "inspect-bf16.json")
    if inspected is None:
        print("gpu_speed.py: there is no inspect-bf16.json: nothing to hold speeds against.")
        return 1
    flops = inspected["epoch"]["flops"] / inspected["epoch"]["samples"]
    roof = next(r["best_per_s"] for r in inspected["roofs"] if r["what"] == "matrix product")
    print(f"bf16 matrix product: {roof / 1e12:.1f} TFLOP/s; a sample: {flops / 1e9:.2f} GFLOP")
    for preset in PRESETS:
        run = read(home / f"{preset}.json")
        if run is not None:
            row = found[preset] = speed_of(run, flops)
            print(
                f"{preset}: epochs of {row['median_s']:.3f} s (median of {len(row['epoch_s'])}), "
                f"{row['flop_per_s'] / 1e12:.1f} TFLOP/s, {row['flop_per_s'] / roof:.1%} of it"
            )
    runs = [run for path in sorted(home.glob("seed-*.json")) if (run := read(path))]
    spent = [seconds_to_target(run) for run in runs]
    reached = [value for value in spent if value is not None]
    if runs:
        best = [max(map(accuracy_of, run["epochs"])) for run in runs]
        print(f"test accuracy, best epoch of each: {', '.join(f'{value:.2%}' for value in best)}")
        print(f"{len(reached)} of {len(runs)} reached {TARGET:.0%}: seconds {reached}")
        found["to_target"] = {"target": TARGET, "seconds": spent, "best_accuracy": best}
    document = {"roof_flop_per_s": roof, **found}
    (home / "speed.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
