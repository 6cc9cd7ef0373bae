"""Do turns and runs one after another find the same planted 10 %, and at what price?

``python benchmarks/turns.py [BLOCKS]`` takes about ten minutes; the data goes to
benchmarks/results/turns.json. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from laptime.replicate import Outcome
from laptime.settings import build_settings
from laptime.statistics.intervals import ratio_interval, resolution
from laptime.statistics.summary import block_log_ratios
from laptime.studies.block import BlockRun
from laptime.studies.plan import make_plan
from laptime.studies.process import ArmProcess
from laptime.studies.starters import Spawner
from laptime.study import Arm, Plan, TurnPolicy
from laptime.timing.clock import calendar_now
from laptime.timing.environment import usable_cpus
from laptime.timing.noise import NoiseMeter, Sentinel
from laptime.timing.processor import cpu_name
from laptime.units import seconds

HERE = Path(__file__).parent
PLANTED = HERE / "planted.py"
SLOWER = {
    "busy loader, 0 workers": ("busy", 0),
    "busy loader, 2 workers": ("busy", 2),
    "sleeping loader, 2 workers": ("sleep", 2),
    "forward": ("model", 0),
}


class Quiet:
    """A listener that prints what ends early."""

    def turn_taken(self, arm: str, round_number: int, step_s: float) -> None: ...

    def arm_ended(self, arm: str, status: Outcome, reason: str) -> None:
        print("  ended:", arm, status, reason)

    def warned(self, text: str) -> None:
        print("  ", text)


def arms(kind: str, num_workers: int) -> list[Arm]:
    """Return the arm as it is and the one that costs a tenth more."""
    base: dict[str, Any] = {"batch_size": 16, "num_workers": num_workers, "lr": 0.01}
    found = []
    for cost in (100, 110):
        data = f"{PLANTED}:free" if kind == "model" else f"{PLANTED}:{kind}_{cost}"
        model = f"{PLANTED}:model_{cost}" if kind == "model" else f"{PLANTED}:light"
        settings = build_settings({**base, "data": data, "model": model})
        found.append(Arm(name=str(cost), settings=settings))
    return found


def run(plan: Plan, log: Path) -> dict[str, Any]:
    """Run all blocks of a plan and return what they found."""
    meter = NoiseMeter(Sentinel.calibrated())
    blocks_run = BlockRun(plan, lambda arm: ArmProcess(arm, log, Spawner()), meter, Quiet())
    blocks = [blocks_run.run(number) for number in range(1, plan.blocks + 1)]
    ratios = block_log_ratios(blocks, "110", "100", "step_s")
    found = ratio_interval(ratios)
    turns = [turn for b in blocks for r in b.replicates for turn in r.turns]
    return {
        "design": plan.design,
        "log_ratios": ratios,
        "ratio": found.estimate,
        "low": found.low,
        "high": found.high,
        "block_sd": statistics.stdev(ratios),
        "resolution": resolution(ratios),
        "seconds": sum(seconds(block.wall_ns) for block in blocks),
        "turns": len(turns),
        "contaminated": sum(turn.contaminated for turn in turns),
    }


def main() -> None:
    num_blocks = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    results = []
    log = Path(tempfile.mkdtemp()) / "arms.txt"
    for title, (kind, num_workers) in SLOWER.items():
        # One after another gets as many steps an arm as the turns do.
        policy = TurnPolicy(min_turns=8, max_turns=8)
        for design in ("turns", "sequential"):
            plan = make_plan(
                "planted", arms(kind, num_workers), "100", ("data", "model"),
                blocks=num_blocks, turns=policy, design=design,
            )  # fmt: skip
            found = {"case": title, **run(plan, log)}
            results.append(found)
            low, high = math.log(found["low"]) * 100, math.log(found["high"]) * 100
            print(
                f"{title:28} {design:11} ln ratio {math.log(found['ratio']) * 100:5.1f} % "
                f"[{low:5.1f}, {high:5.1f}]  block sd {found['block_sd'] * 100:4.2f} %  "
                f"resolution {found['resolution'] * 100:4.1f} %  {found['seconds']:5.0f} s  "
                f"contaminated {found['contaminated']} of {found['turns']}",
                flush=True,
            )
    document = {
        "date": calendar_now().date().isoformat(),
        "machine": f"{cpu_name()}, {usable_cpus()} cores",
        "blocks": num_blocks,
        "planted": 0.10,
        "results": results,
    }
    (HERE / "results" / "turns.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
