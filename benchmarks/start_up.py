"""Run ``python benchmarks/start_up.py``: how long our commands take to start.

Each command takes turns, in random order, with a Python that imports the same third-party packages
and does nothing, and with one that imports every third-party module that the command loads:
``import pydantic`` alone leaves most of pydantic for later. What a command loads is found by
asking a process that ran it. It reports, and does not pass or fail.
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
from laptime.timing.clock import read_ns
from overhead import SEED, bootstrap_interval, write_result

PAIRS = 25
TARGET = 1.5

COMMANDS = {
    "laptime --help": ["--help"],
    "laptime train --help": ["train", "--help"],
    "laptime list, no run": ["list", "--runs-dir", "none"],
    "laptime list, three runs": ["list", "--runs-dir", "three"],
}

_LOADED = """
import contextlib, io, json, sys
before = set(sys.modules)
from laptime.cli.main import app
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    app.main(sys.argv[1:], prog_name="laptime", standalone_mode=False)
found = []
for name in set(sys.modules) - before:
    package = name.partition(".")[0]
    origin = getattr(sys.modules.get(package), "__file__", None) or ""
    if package != "laptime" and "site-packages" in origin and name in sys.modules:
        found.append(name)
print(json.dumps(sorted(found)))
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="laptime-bench-") as scratch:
        directory = Path(scratch)
        write_runs(directory / "three", count=3)
        found = {name: measure(arguments, directory) for name, arguments in COMMANDS.items()}
    write_result(
        "start_up.json",
        {
            "what": "wall time of a command, milliseconds, against imports alone",
            "n": PAIRS,
            "seed": SEED,
            "target": TARGET,
            "commands": found,
        },
    )
    print(f"start-up: {PAIRS} turns in random order, target {TARGET:g} times the imports alone")
    print(f"{'command':<26}{'ms':>7}  {'against':<10}{'ms':>7}{'ratio':>7}  95 % interval")
    for name, it in found.items():
        for baseline, against in it["against"].items():
            low, high = against["interval"]
            print(
                f"{name:<26}{it['command_ms']['median']:>7.1f}  {baseline:<10}"
                f"{against['imports_ms']['median']:>7.1f}{against['ratio']:>7.2f}"
                f"  {low:.2f} to {high:.2f}"
            )


def write_runs(runs_dir: Path, count: int) -> None:
    """Record some short runs, for a list that has something to show."""
    from laptime.training.loop import train

    values = {"width": 1, "samples": 16, "batch_size": 16, "epochs": 1, "num_workers": 0}
    settings = build_settings({**values, "data": "synthetic", "device": "cpu"})
    for _ in range(count):
        train(settings, runs_dir)


def measure(arguments: list[str], directory: Path) -> dict[str, Any]:
    """Return the times of every turn, and the ratios of their medians."""
    modules = loaded_modules(arguments, directory)
    packages = [name for name in modules if "." not in name]
    arms = {
        "command": [str(Path(sys.executable).with_name("laptime")), *arguments],
        "packages": importing(packages),
        "modules": importing(modules),
    }
    for command in arms.values():
        milliseconds(command, directory)  # compiles what is not compiled yet
    order = np.random.default_rng(SEED)
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(PAIRS):
        for name in order.permutation(list(arms)):
            taken[name].append(milliseconds(arms[name], directory))
    return {
        "packages": packages,
        "num_modules": len(modules),
        "command_ms": spread(taken["command"]),
        "against": {
            name: comparison(taken["command"], taken[name]) for name in ("packages", "modules")
        },
    }


def comparison(command_ms: list[float], imports_ms: list[float]) -> dict[str, Any]:
    """Return the ratio of medians with its interval, pairs resampled whole."""
    return {
        "ratio": float(np.median(command_ms) / np.median(imports_ms)),
        "interval": bootstrap_interval(
            np.column_stack([command_ms, imports_ms]), ratios_of_medians
        ),
        "imports_ms": spread(imports_ms),
    }


def importing(names: list[str]) -> list[str]:
    """Return the command of a Python that imports some modules and ends."""
    return [sys.executable, "-c", "".join(f"import {name}\n" for name in names)]


def ratios_of_medians(resampled: Any) -> Any:
    """Return one ratio a resample; ``resampled`` has shape (resamples, pairs, 2)."""
    medians = np.median(resampled, axis=1)
    return medians[:, 0] / medians[:, 1]


def spread(values_ms: list[float]) -> dict[str, Any]:
    """Return median, quartiles and the values themselves."""
    low, median, high = (float(edge) for edge in np.quantile(values_ms, (0.25, 0.5, 0.75)))
    return {"median": median, "quartiles": [low, high], "values": np.round(values_ms, 2).tolist()}


def loaded_modules(arguments: list[str], directory: Path) -> list[str]:
    """Return the third-party modules that a command has loaded when it is done."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    modules: list[str] = json.loads(done.stdout)
    return modules


def milliseconds(command: list[str], directory: Path) -> float:
    """Run a command and return its wall time, start and end of the process included."""
    start_ns = read_ns()
    subprocess.run(command, cwd=directory, capture_output=True, check=True)
    return (read_ns() - start_ns) / 1e6


if __name__ == "__main__":
    main()
