"""Ten loaders that sleep, with the number of workers that they need known beforehand.

``python benchmarks/sleeping.py [FIRST LAST]`` runs the worker study on each, about two and a half
minutes each; the data goes to benchmarks/results/sleeping.json. Sleeping needs no CPU: two cores
serve sixteen workers. A batch takes L ms to load and a step C ms to compute, so that W workers
are enough when L / W <= C, and a count within 3 % of that is as good. Every sample sleeps for its
share. Taking a batch over from a worker adds 1.5 to 3 ms to a step on two cores, so that loads are
chosen whose answer does not hang on it; twelve workers that wake for 16 samples a batch wake 1,600
times a second, which two cores feel: their batches are smaller.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from laptime.timing.clock import calendar_now, read_ns
from laptime.timing.environment import usable_cpus
from laptime.timing.processor import cpu_name
from laptime.units import seconds

HERE = Path(__file__).parent
COMPUTE_MS = 8
BATCH_SIZE = 16
CASES: tuple[tuple[int, str, int, str, int], ...] = (
    # load of a batch in tenths of a millisecond, grid, current count, answer, batch size
    (0, "0,1,2,4", 2, "0", BATCH_SIZE),
    (60, "0,1,2,4", 1, "1", BATCH_SIZE),
    (120, "0,1,2,4", 1, "2", BATCH_SIZE),
    (150, "1,2,3,4", 4, "2", BATCH_SIZE),
    (230, "1,2,3,4", 1, "3", BATCH_SIZE),
    (290, "2,4,8", 4, "4", BATCH_SIZE),
    (460, "4,6,8", 6, "6", BATCH_SIZE),
    (600, "4,8,12", 8, "8", BATCH_SIZE),
    (1200, "8,12,16", 12, "12", 4),
    (328, "2,4,5", 5, "4", BATCH_SIZE),  # four take 8.2 ms a step, 2.5 % more than compute: enough
)


def study(
    load: int, grid: str, current: int, batch_size: int, directory: Path
) -> tuple[Any, float]:
    """Run one study; return its record and how long the command took."""
    start_ns = read_ns()
    base = f"{directory}/base"
    here = f"{HERE / 'planted.py'}"
    nap = load * BATCH_SIZE // batch_size  # factories are named by the sleep of 16 samples
    common = (
        f"--data {here}:nap_{nap} --model {here}:nap_model --batch-size {batch_size} --device cpu"
    )
    settings = (
        f"{common} --num-workers {current} --runs-dir {base} --epochs 1 --samples 16 --lr 0.01"
    )
    laptime = [sys.executable, "-m", "laptime"]
    subprocess.run([*laptime, "train", *settings.split()], check=True, capture_output=True)
    (run,) = Path(base).iterdir()
    asked = (
        f"study workers --like {run} --samples {256 * batch_size} --num-workers {grid} "
        f"--turns 4 --no-tables"
    )
    start_ns = read_ns()
    done = subprocess.run(
        [*laptime, *asked.split(), "--json", "--runs-dir", str(directory / "study")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout), seconds(read_ns() - start_ns)


def main() -> None:
    first, last = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (1, len(CASES))
    results = []
    for number, (load, grid, current, answer, batch_size) in enumerate(CASES, 1):
        if not first <= number <= last:
            continue
        record, took_s = study(load, grid, current, batch_size, Path(tempfile.mkdtemp()))
        found = record["recommended"] and str(record["recommended"]["num_workers"])
        refusals = [refusal["code"] for refusal in record["refusals"]]
        results.append(
            {
                "load_ms": load / 10, "compute_ms": COMPUTE_MS, "grid": grid, "current": current,
                "batch_size": batch_size, "answer": answer, "found": found, "seconds": took_s,
                "refusals": refusals,
                "contaminated": f"{record['contaminated_turns']} of {record['turns']}",
                "resolution": record["resolution"],
                "epoch_s": {arm["name"]: arm["epoch_s"] for arm in record["arms"]},
            }
        )  # fmt: skip
        print(json.dumps(results[-1]), flush=True)
    document = {
        "date": calendar_now().date().isoformat(),
        "machine": f"{cpu_name()}, {usable_cpus()} cores",
        "results": results,
    }
    name = "sleeping.json" if len(results) == len(CASES) else f"sleeping-{first}-{last}.json"
    (HERE / "results" / name).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
