"""Run ``python benchmarks/starters.py``: do arms that were forked train as new interpreters do?

A forked arm and one in an interpreter of its own take turns, six blocks of six turns, without
workers and with two; and how long six arms take to be built, both ways. The data goes to
benchmarks/results/starters.json. It reports, and does not pass or fail.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from laptime.settings import build_settings
from laptime.statistics.intervals import ratio_interval
from laptime.studies.process import ArmProcess
from laptime.studies.starters import ForkServer, Spawner, Starter
from laptime.study import Arm
from laptime.timing.clock import calendar_now, read_ns
from laptime.timing.environment import usable_cpus
from laptime.timing.processor import cpu_name
from laptime.units import seconds

HERE = Path(__file__).parent
BLOCKS, TURNS, ARMS = 6, 6, 6
TIMEOUT_S = 120.0


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="laptime-bench-") as scratch:
        log = Path(scratch) / "log.txt"
        document = {
            "what": "arms forked from a server against arms in interpreters of their own",
            "date": calendar_now().date().isoformat(),
            "machine": f"{cpu_name()}, {usable_cpus()} cores",
            "workers": {str(count): compare(arm_of(count), log) for count in (0, 2)},
            "build_six_s": {
                name: [build_all(starter, log) for _ in range(3)]
                for name, starter in (("fork", ForkServer()), ("spawn", Spawner()))
            },
        }
    print(json.dumps(document, indent=1))
    (HERE / "results" / "starters.json").write_text(json.dumps(document, indent=1) + "\n")


def arm_of(num_workers: int) -> Arm:
    settings = {"width": 8, "samples": 1600, "batch_size": 16, "num_workers": num_workers}
    return Arm(name="arm", settings=build_settings(settings))


def compare(arm: Arm, log: Path) -> dict[str, Any]:
    """Return the ratio of step times, forked over spawned, with its interval over blocks."""
    logs = [block(arm, log, number) for number in range(BLOCKS)]
    found = ratio_interval(logs)
    return {"ratio": found.estimate, "low": found.low, "high": found.high, "blocks": BLOCKS}


def block(arm: Arm, log: Path, number: int) -> float:
    """Return the mean log ratio of the turns of one block."""
    pair = [ArmProcess(arm, log, ForkServer()), ArmProcess(arm, log, Spawner())]
    try:
        for process in pair:
            process.reply(TIMEOUT_S)
            process.ask("prepare", TIMEOUT_S)
        logs = []
        for turn in range(TURNS):
            order = (0, 1) if (turn + number) % 2 else (1, 0)
            step_s = {place: step(pair[place], arm) for place in order}
            logs.append(math.log(step_s[0] / step_s[1]))
        return fmean(logs)
    finally:
        for process in pair:
            process.close()


def step(process: ArmProcess, arm: Arm) -> float:
    discard = max(3, 2 * arm.settings.loader.num_workers)
    turn = process.ask("turn", TIMEOUT_S, discard=discard, min_steps=20, min_s=0.5)
    return float(turn["wall_ns"] / turn["steps"])


def build_all(starter: Starter, log: Path) -> float:
    """Return how long it takes until so many arms of a block have data and model."""
    start_ns = read_ns()
    arms = [ArmProcess(arm_of(0), log, starter) for _ in range(ARMS)]
    for process in arms:
        process.reply(TIMEOUT_S)
    spent_s = seconds(read_ns() - start_ns)
    for process in arms:
        process.close()
    return spent_s


if __name__ == "__main__":
    main()
