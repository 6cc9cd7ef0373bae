"""python benchmarks/gpu_summary.py RECORD.json: one line an epoch, and a verdict on the ledger.

Exit status 1 when the run did not complete, when phases do not sum to the wall, or when the
events do not explain a window.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PARTS = ("transfer", "forward", "backward", "optimizer", "stall", "host_gap")


def describe(epoch: dict[str, Any]) -> dict[str, Any]:
    """Return what of an epoch is worth a line."""
    summary = {
        key: epoch[key]
        for key in (
            "epoch",
            "mode",
            "total_s",
            "loading_s",
            "training_s",
            "other_s",
            "samples_per_s",
        )
    }
    summary["host_share"] = shares(epoch["phases_ns"], epoch["wall_ns"])
    device = epoch["device_ns"]
    if device:
        parts_ns = {part: device[f"{part}_ns"] for part in PARTS}
        summary["device_share"] = shares(parts_ns, device["wall_ns"])
        summary["hidden_share"] = round(device["hidden_ns"] / device["wall_ns"], 5)
        summary["closure_share"] = round(device["closure_ns"] / device["wall_ns"], 6)
        summary["windows"], summary["invalid_windows"] = (
            device["windows"],
            device["invalid_windows"],
        )
    return summary


def shares(spent_ns: dict[str, int], wall_ns: int) -> dict[str, float]:
    """Return fractions of the wall, 0 to 1, without the phases that did not occur."""
    return {name: round(spent / wall_ns, 5) for name, spent in spent_ns.items() if spent}


def faults(record: dict[str, Any]) -> list[str]:
    """Return what is wrong with the ledgers of a run, in words."""
    found = [] if record["run"]["status"] == "completed" else [f"run: {record['run']}"]
    for epoch in record["epochs"]:
        if sum(epoch["phases_ns"].values()) != epoch["wall_ns"]:
            found.append(f"epoch {epoch['epoch']}: phases do not sum to the wall")
        device = epoch["device_ns"]
        if epoch["mode"] == "events" and not device:
            found.append(f"epoch {epoch['epoch']}: no device window")
        if device and device["invalid_windows"]:
            found.append(
                f"epoch {epoch['epoch']}: {device['invalid_windows']} windows do not close"
            )
        parts_ns = sum(device[f"{part}_ns"] for part in PARTS) if device else 0
        if device and parts_ns + device["closure_ns"] != device["wall_ns"]:
            found.append(f"epoch {epoch['epoch']}: device parts do not sum to their wall")
    return found


def main(path: str) -> int:
    """Print the summary of one record; return the exit status."""
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    print(json.dumps({"device": record["environment"]["device_name"], **record["run"]}))
    for epoch in record["epochs"]:
        print(json.dumps(describe(epoch)))
    print(json.dumps({"overhead": record["overhead"], "total_s": record["total_s"]}))
    found = faults(record)
    print("\n".join(found) if found else "both ledgers hold")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
