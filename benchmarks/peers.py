"""Run ``python benchmarks/peers.py``: our recorder and our tuning beside other tools.

Four parts: ``overhead`` (a script with a step of one to two milliseconds, plain and under each
tool, in random order, one process each), ``toggled`` (our recorder on, off and gone, in turns in
one process, by the number of submodules), ``says`` (what each tool answers on a plain script) and
``tuning`` (see peer_tuning.py). ``--parts`` names some, ``--rounds`` sets how often; ``--dry``
writes beside the environments instead of the results. Each tool gets an environment of its own in
benchmarks/.peers. It takes an hour: leave the machine alone meanwhile. It reports, and does not
pass or fail.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from laptime.files import read_json, write_json
from laptime.timing.clock import calendar_now
from laptime.timing.environment import collect_environment
from overhead import RESULTS, SEED, summary
from peer_tools import HOMES, LAPTIME, PLAIN, VERSIONS, WAYS, Way
from peer_tuning import measure_tuning

ROUNDS = 12
BLOCKS, STEPS = 40, 50
"""Of the process of a round: what it says of itself is the median of its blocks."""

MODULES = (4, 40, 400)
TOGGLED_BLOCKS, TOGGLED_STEPS = 250, 50
TARGET_US = 20.0

LINES_KEPT = 40


def main() -> None:
    given = parse()
    parts: dict[str, Callable[[Path], Any]] = {
        "overhead": lambda scratch: measure_overhead(
            scratch, given.rounds, [int(number) for number in given.threads.split(",")]
        ),
        "toggled": lambda scratch: measure_toggled(scratch, given.blocks),
        "says": collect_answers,
        "tuning": lambda scratch: measure_tuning(scratch, given.truth_rounds, given.budget),
    }
    for name in given.parts.split(","):
        with tempfile.TemporaryDirectory(prefix="laptime-peers-") as scratch:
            before = os.getloadavg()
            found = parts[name](Path(scratch))
        keep(name, {"load_before": before, "load_after": os.getloadavg(), **found}, given.dry)


def parse() -> argparse.Namespace:
    options = argparse.ArgumentParser(description="Our tools beside others.")
    options.add_argument("--parts", default="overhead,toggled,says,tuning")
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--threads", default="1,2", help="of the short steps")
    options.add_argument("--blocks", type=int, default=TOGGLED_BLOCKS)
    options.add_argument("--truth-rounds", type=int, default=5)
    options.add_argument("--budget", default="10m", help="of each laptime tune")
    options.add_argument("--dry", action="store_true")
    return options.parse_args()


def keep(part: str, found: dict[str, Any], dry: bool) -> None:
    """Write a part with the conditions that it was measured under; the others stay as they are."""
    path = HOMES / "dry.json" if dry else RESULTS / "peers.json"
    known = read_json(path) if path.exists() else {}
    machine = collect_environment("cpu").model_dump(mode="json")
    now = calendar_now().isoformat(timespec="seconds")
    conditions = {"commit": machine["git_sha"], "date": now}
    write_json(path, {
        **known, "machine": machine, "versions": VERSIONS, part: {**conditions, **found},
    })  # fmt: skip


def measure_overhead(scratch: Path, rounds: int, numbers: list[int]) -> dict[str, Any]:
    """Return the step of every way in every round, and how much longer it is than without."""
    order = random.Random(SEED)
    found: dict[str, Any] = {}
    for threads in numbers:
        rows: dict[str, list[dict[str, float]]] = {way.name: [] for way in WAYS}
        for number in range(rounds):
            for way in order.sample(WAYS, len(WAYS)):
                place = scratch / f"{threads}-{number}-{WAYS.index(way)}"
                rows[way.name].append(run_short_steps(way, threads, place))
        added = {way.name: added_to(rows[PLAIN.name], rows[way.name]) for way in WAYS[1:]}
        print_overhead(threads, rows[PLAIN.name], added)
        found[f"{threads} threads" if threads > 1 else "1 thread"] = {"rows": rows, "added": added}
    return {
        "what": "microseconds a step by the script's own clocks, one process a round and way",
        "n": rounds, "blocks": BLOCKS, "steps_per_block": STEPS, "seed": SEED, **found,
    }  # fmt: skip


def run_short_steps(way: Way, threads: int, place: Path) -> dict[str, float]:
    """Return the median block of a process, microseconds a step by clock, and its wall time."""
    times = place / "times.json"
    ran = way.run("short_steps.py", [str(times), *map(str, (threads, BLOCKS, STEPS))], place)
    if ran.status or not times.exists():
        raise RuntimeError(f"{way.name} ended with {ran.status}: {ran.said[-2000:]}")
    found = json.loads(times.read_text())
    medians = {f"{clock}_us": statistics.median(values) for clock, values in found.items()}
    turns = [on - off for on, off in zip(found["wall"][::2], found["wall"][1::2], strict=True)]
    return {**medians, "in_turns_us": statistics.median(turns), "process_s": ran.wall_s}


def added_to(plain: list[dict[str, float]], rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return what is added to the plain script, round by round."""
    values = {
        name: np.array([row[name] - was[name] for row, was in zip(rows, plain, strict=True)])
        for name in plain[0]
    }
    seconds = float(np.median(values.pop("process_s")))
    values["in_turns_us"] = np.array([row["in_turns_us"] for row in rows])  # its own control
    return {**{name: summary(differences) for name, differences in values.items()}, "s": seconds}


def print_overhead(
    threads: int, plain: list[dict[str, float]], added: dict[str, dict[str, Any]]
) -> None:
    step_us = statistics.median(row["wall_us"] for row in plain)
    print(f"\n{threads} thread(s), {len(plain)} rounds: {step_us:.0f} us a step plain")
    for name, found in added.items():
        low, high = found["wall_us"]["interval_us"]
        print(
            f"  {name:<36}{found['wall_us']['median_us']:>+7.0f} us a step"
            f"{f'[{low:+.0f}, {high:+.0f}]':>18}{found['wall_us']['median_us'] / step_us:>8.1%}"
            f"{found['cpu_us']['median_us']:>+7.0f} us of the thread{found['s']:>+6.1f} s in all,"
            f"{found['in_turns_us']['median_us']:>+7.0f} us in every second block",
            flush=True,
        )


def measure_toggled(scratch: Path, blocks: int) -> dict[str, Any]:
    """Return what our recorder adds in one process, by the number of submodules."""
    found: dict[str, Any] = {}
    print(f"\nrecorder on, off and gone in turns, {blocks} blocks of {TOGGLED_STEPS} steps")
    for modules in MODULES:
        place = scratch / str(modules)
        times = place / "times.json"
        arguments = [str(times), *map(str, (modules, blocks, TOGGLED_STEPS))]
        ran = LAPTIME.run("toggled.py", arguments, place)
        if ran.status or not times.exists():
            raise RuntimeError(f"toggled.py ended with {ran.status}: {ran.said[-2000:]}")
        found[str(modules)] = {
            clock: differences(windows) for clock, windows in json.loads(times.read_text()).items()
        }
        print_toggled(modules, found[str(modules)])
    return {
        "what": "microseconds a step, paired differences of interleaved windows",
        "n": blocks, "steps_per_window": TOGGLED_STEPS, "seed": 0, "target_us": TARGET_US,
        "submodules": found,
    }  # fmt: skip


def differences(windows: dict[str, list[float]]) -> dict[str, Any]:
    """Return what windows with the recorder on take longer than their neighbours without."""
    on = np.array(windows["on"])
    return {
        "median_step_us": {arm: statistics.median(values) for arm, values in windows.items()},
        "on_minus": {arm: summary(on - np.array(windows[arm])) for arm in ("off", "gone")},
    }


def print_toggled(modules: int, found: dict[str, Any]) -> None:
    for clock, row in found.items():
        off, gone = row["on_minus"]["off"], row["on_minus"]["gone"]
        low, high = gone["interval_us"]
        print(
            f"  {modules:>4} submodules, {row['median_step_us']['gone']:6.0f} us a step ({clock}): "
            f"{gone['median_us']:+.1f} us [{low:+.1f}, {high:+.1f}] to torch as it was, "
            f"{off['median_us']:+.1f} to hooks that do nothing",
            flush=True,
        )


def collect_answers(scratch: Path) -> dict[str, Any]:
    """Return what each tool prints on a plain training whose loader takes most of a step."""
    answers = {}
    for way in WAYS[1:]:
        place = scratch / str(WAYS.index(way))
        ran = way.run("slow_loader.py", [], place)
        said = ran.said.replace(f"{place}/", "").replace(sys.executable, "python")
        lines = [line.rstrip() for line in said.splitlines() if is_an_answer(line)]
        answers[way.name] = {
            "status": ran.status, "wall_s": ran.wall_s, "lines_added": way.lines,
            "said": lines[:LINES_KEPT],
        }  # fmt: skip
        print(f"\n{way.name}:", *lines[:LINES_KEPT], sep="\n  ", flush=True)
    answers["gpuprof"] = {"said": ["no command takes a script as it is"], "lines_added": 0}
    return {"what": "standard output and error on slow_loader.py", "answers": answers}


def is_an_answer(line: str) -> bool:
    """Leave out frames, progress, and what the script itself prints."""
    return bool(re.search(r"\w", line)) and not re.match(r"\[TraceML\]|epoch \d", line)


if __name__ == "__main__":
    main()
