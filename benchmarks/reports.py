"""Run ``python benchmarks/reports.py``: what a report takes, in seconds and megabytes.

A run of three epochs as text and as a page, and a run of as many epochs as 8 ranks record in 1,000:
laptime itself records one rank, so that all 8,000 stand in one file. Each in a process of its own,
in turns of random order, imports included. It reports, and does not pass or fail.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from laptime.settings import build_settings
from laptime.store import RunDirectory
from overhead import SEED, write_result

TURNS = 7
MANY = 8_000

GOALS = {"few, text": (1.5, None), "few, page": (None, None), "many, page": (5.0, 500.0)}
"""Seconds and megabytes that a report should stay under."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="laptime-bench-") as scratch:
        few = trained(Path(scratch) / "few")
        many = lengthened(few, Path(scratch) / "many")
        commands = {
            "few, text": ["report", str(few.path), "--format", "text"],
            "few, page": ["report", str(few.path)],
            "many, page": ["report", str(many.path)],
        }
        found = measure(commands)
        page_bytes = (many.path / "report.html").stat().st_size
    write_result(
        "reports.json",
        {
            "what": "wall time and peak memory of a report, imports included",
            "n": TURNS,
            "seed": SEED,
            "epochs": {"few": 3, "many": MANY},
            "many_page_bytes": page_bytes,
            "goals": GOALS,
            "commands": found,
        },
    )
    print(f"reports: {TURNS} turns in random order, medians and the slowest")
    for name, it in found.items():
        print(
            f"{name:<12}{it['seconds']['median']:>7.2f} s, at most {it['seconds']['most']:.2f} s;"
            f"{it['megabytes']['median']:>6.0f} MB"
        )
    print(f"the page of {MANY:,} epochs has {page_bytes / 1e6:.2f} MB")


def trained(runs_dir: Path) -> RunDirectory:
    """Return a run of three epochs."""
    from laptime.training.loop import train

    values = {"width": 1, "samples": 64, "batch_size": 16, "epochs": 3, "num_workers": 0}
    settings = build_settings({**values, "data": "synthetic", "device": "cpu"})
    return RunDirectory(Path(train(settings, runs_dir).directory))


def lengthened(run: RunDirectory, runs_dir: Path) -> RunDirectory:
    """Return a copy of a run with many epochs."""
    longer = RunDirectory(runs_dir / run.id)
    longer.path.mkdir(parents=True)
    for path in run.path.glob("*.json*"):
        (longer.path / path.name).write_bytes(path.read_bytes())
    rows = [json.loads(line) for line in run.epochs.read_text().splitlines()]
    lines = [json.dumps({**rows[min(n, 2) - 1], "epoch": n}) for n in range(1, MANY + 1)]
    longer.epochs.write_text("".join(f"{line}\n" for line in lines))
    return longer


def measure(commands: dict[str, list[str]]) -> dict[str, Any]:
    """Return seconds and megabytes of each command over all turns."""
    order = np.random.default_rng(SEED)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for arguments in commands.values():
        once(arguments)  # compiles what is not compiled yet
    for _ in range(TURNS):
        for name in order.permutation(list(commands)):
            taken[name].append(once(commands[name]))
    return {
        name: {"seconds": spread([s for s, _ in rows]), "megabytes": spread([m for _, m in rows])}
        for name, rows in taken.items()
    }


_WATCHED = """
import resource, subprocess, sys, time
start_ns = time.perf_counter_ns()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
spent_s = (time.perf_counter_ns() - start_ns) / 1e9
print(spent_s, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6)
"""
"""Runs a command from a small process: a child's peak begins at that of whoever started it."""


def once(arguments: list[str]) -> tuple[float, float]:
    """Run a command; return its wall time in seconds and its peak memory in megabytes."""
    program = str(Path(sys.executable).with_name("laptime"))
    command = [sys.executable, "-c", _WATCHED, program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    spent_s, peak_mb = map(float, done.stdout.split())
    return spent_s, peak_mb


def spread(values: list[float]) -> dict[str, Any]:
    """Return the median, the most, and the values themselves."""
    return {
        "median": float(np.median(values)),
        "most": max(values),
        "values": np.round(values, 3).tolist(),
    }


if __name__ == "__main__":
    main()
