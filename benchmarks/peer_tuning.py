"""Which loader settings loadtune and ``laptime tune`` pick, how good they are, what they cost.

How good is measured here and not by them: an epoch of the script with what each picked, and with
every worker count of a grid, in fresh processes, in random order.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overhead import SEED
from peer_tools import SCRIPTS, execute, python_of

JOBS = ("tuned_sleeping", "tuned_busy")
GRID = (0, 1, 2, 3, 4, 6)
"""Worker counts whose epochs are measured, whoever picks them."""

SHARED = ("num_workers", "persistent_workers", "prefetch_factor", "pin_memory", "threads")
"""What loadtune changes too on a CPU; ``laptime tune`` is asked for these only."""

EPOCHS = 2
"""Of a process whose epochs are measured: workers are started in the first, or in both."""

Settings = dict[str, Any]


@dataclass(frozen=True)
class Pick:
    """What a tool recommends, and how long it took to say so."""

    settings: Settings
    cost_s: float
    said: list[str]


def measure_tuning(scratch: Path, rounds: int, budget: str) -> dict[str, Any]:
    """Return what each tool picks for each job, and the true epochs."""
    found = {}
    for job in JOBS:
        place = scratch / job
        place.mkdir()
        for name in (f"{job}.py", "tuned_job.py"):
            shutil.copy(SCRIPTS / name, place / name)
        picks = {"as it is": Pick({}, 0.0, []), "loadtune": pick_of_loadtune(job, place)}
        picks["laptime tune"] = pick_of_laptime(job, place, budget)
        found[job] = {
            "picks": {name: vars(pick) for name, pick in picks.items()},
            "truth": measure_truth(job, place, picks, rounds),
        }
        print_truth(job, picks, found[job]["truth"])
    return {"what": "seconds an epoch, workers' start included", "n": rounds, "jobs": found}


def pick_of_loadtune(job: str, place: Path) -> Pick:
    """Run loadtune with its own defaults; no pick is the script as it is."""
    loadtune = str(Path(python_of("loadtune")).parent / "loadtune")
    ran = execute([loadtune, "tune", f"{job}.py", "--no-plots"], place)
    lines = ran.said.splitlines()
    best = [line for line in lines if "best overall" in line]
    settings = settings_from_label(best[-1]) if best else {}
    return Pick(settings, ran.wall_s, lines[-20:])


def settings_from_label(line: str) -> Settings:
    """Return the settings of ``best overall: workers=2, prefetch=4, persistent, threads=1``."""
    names = {"workers": "num_workers", "prefetch": "prefetch_factor", "threads": "threads"}
    found: Settings = {
        names[word]: int(value) for word, value in re.findall(r"(\w+)=(\d+)", line) if word in names
    }
    for word, name in (("persistent", "persistent_workers"), ("pin", "pin_memory")):
        if re.search(rf", {word}\b", line):
            found[name] = True
    return found


def pick_of_laptime(job: str, place: Path, budget: str) -> Pick:
    """Run ``laptime tune`` on the unedited script; without a verified gain it stays as it is."""
    tune = [sys.executable, "-m", "laptime", "tune", "--json", "--runs-dir", str(place / "runs")]
    asked = ["--budget", budget, "--only", ",".join(SHARED), "--"]
    # Long enough to be looked at: a tuning ends the processes that it starts.
    script = [sys.executable, f"{job}.py", "--epochs", "1000"]
    ran = execute([*tune, *asked, *script], place, limit_s=3600)
    documents = [line for line in ran.said.splitlines() if line.startswith("{")]
    if not documents:
        printed = ran.said.replace(sys.executable, "python")  # where that is, is not told
        return Pick({}, ran.wall_s, printed.splitlines()[-20:])
    document = json.loads(documents[-1])
    gain = document["gain"]
    settings = dict(gain["changes"]) if gain else {}
    said = [document["conclusion"], *(f"{t['name']}: {t['outcome']}" for t in document["tried"])]
    return Pick(settings, ran.wall_s, said)


def measure_truth(
    job: str, place: Path, picks: Mapping[str, Pick], rounds: int
) -> dict[str, dict[str, Any]]:
    """Return the epochs of every setting, by its words on the command line."""
    candidates = [words(pick.settings) for pick in picks.values()]
    candidates += [words({"num_workers": count} if count else {}) for count in GRID]
    candidates = sorted(set(candidates))
    order = random.Random(SEED)
    epoch_s: dict[str, list[float]] = {candidate: [] for candidate in candidates}
    batches = 0
    for _ in range(rounds):
        for candidate in order.sample(candidates, len(candidates)):
            command = [sys.executable, f"{job}.py", "--epochs", str(EPOCHS), *candidate.split()]
            ran = execute(command, place)
            if ran.status:
                raise RuntimeError(f"{command} ended with {ran.status}: {ran.said[-2000:]}")
            told = json.loads(ran.said.splitlines()[-1])
            epoch_s[candidate].append(statistics.mean(told["epoch_s"]))
            batches = told["batches"]
    return {
        candidate: {
            "epoch_s": values,
            "median_s": statistics.median(values),
            "median_step_ms": statistics.median(values) / batches * 1e3,
        }
        for candidate, values in epoch_s.items()
    }


def words(settings: Settings) -> str:
    """Return settings as options of the jobs' scripts."""
    given = []
    for name in SHARED:
        value = settings.get(name)
        if value is True:
            given.append(f"--{name.replace('_', '-')}")
        elif value not in (None, False):
            given.append(f"--{name.replace('_', '-')} {value}")
    return " ".join(given)


def print_truth(job: str, picks: Mapping[str, Pick], truth: Mapping[str, Any]) -> None:
    print(f"\n{job}: true epochs, and who picked them")
    for candidate, row in sorted(truth.items(), key=lambda item: item[1]["median_s"]):
        by = [
            f"{name} ({p.cost_s:.0f} s)"
            for name, p in picks.items()
            if words(p.settings) == candidate
        ]
        print(
            f"  {row['median_s']:6.2f} s {row['median_step_ms']:7.1f} ms a step  "
            f"{candidate or '(as it is)':<56}{', '.join(by)}",
            flush=True,
        )
