"""Run ``python benchmarks/quiet_machine.py``: what a sentinel shows when nobody disturbs.

Turns of half a second with a sentinel on either side, as in a study: nothing runs, one process
is busy, as many as there are CPUs are busy, or one works and sleeps in turn as a loader's worker
does. The busy ones are the turn's own and stand still otherwise. From the readings comes the
threshold beyond which a sentinel is unusual: the lowest that flags at most 5 % of the turns in
rounds of two to eight. The one in use is this or a little more. Run it on a machine that does
nothing else, for about four minutes; it says itself how much foreign load it has met. With
``--analyse`` it looks at the stored readings again and takes none.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from laptime.files import make_directory, read_json, write_json
from laptime.replicate import NoiseRecord
from laptime.timing.clock import calendar_now, sleep_s
from laptime.timing.environment import collect_environment
from laptime.timing.noise import QUIET, NoiseMeter, Sentinel, Thresholds, flag_round
from laptime.units import render_share

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

ROUNDS = 100
TURN_S = 0.5
LOOK_S = 10.0
"""How long the machine is watched before and after the recording, for load that is not ours."""
SEED = 0

ROUND_SIZES = range(2, 9)
MOST_FLAGGED = 0.05
MOST_FOREIGN = 0.02
"""Share of the turns that may meet foreign load on a machine that is called quiet."""
FEWEST_TURNS = 200
"""Turns without foreign load from which a threshold may come."""

BUSY = "while True: pass"
PULSING = "import time\nwhile True:\n    sum(range(100_000))\n    time.sleep(0.002)"

Rows = list[tuple[str, NoiseRecord]]


def main() -> None:
    analyse_only = "--analyse" in sys.argv[1:]
    path = RESULTS / "quiet_machine.json"
    found = read_json(path) if analyse_only else recording()
    rows = from_columns(found.pop("readings"))
    by_arm = {name: spread([n for arm, n in rows if arm == name]) for name in arms()}
    found |= {**analysis([noise for _, noise in rows]), "by_arm": by_arm}
    make_directory(RESULTS)
    write_json(path, {**found, "readings": columns(rows)})
    print_summary(found)


def recording() -> dict[str, Any]:
    """Return the readings and the conditions that they were taken under."""
    sentinel = Sentinel.calibrated()
    meter = NoiseMeter(sentinel)
    load_average = os.getloadavg()[0]
    foreign_before = foreign_while_idle(meter)
    rows = record(meter)
    return {
        "what": "sentinels beside turns of half a second, and what the machine did meanwhile",
        "date": calendar_now().isoformat(timespec="seconds"),
        "machine": collect_environment("cpu").model_dump(mode="json"),
        "n": len(rows),
        "turn_s": TURN_S,
        "seed": SEED,
        "sentinel_repetitions": sentinel.repetitions,
        "load_average_at_start": round(load_average, 2),
        "foreign_cores_before": foreign_before,
        "foreign_cores_after": foreign_while_idle(meter),
        "readings": columns(rows),
    }


def arms() -> dict[str, list[str]]:
    """Return the programs that run in the turns of each arm."""
    return {
        "idle": [],
        "one busy": [BUSY],
        "all busy": [BUSY] * min(8, os.cpu_count() or 1),
        "pulsing": [PULSING],
    }


def record(meter: NoiseMeter) -> Rows:
    """Return the arm and the noise of every turn, in the order in which they were taken."""
    order = random.Random(SEED)
    rows: Rows = []
    with paused_processes() as processes:
        for _ in range(ROUNDS):
            for name in order.sample(list(processes), len(processes)):
                rows.append((name, take_turn(meter, processes[name])))
    return rows


@contextmanager
def paused_processes() -> Iterator[dict[str, list[int]]]:
    """Yield the pids of each arm's processes, all of them stopped; end them afterwards."""
    started: dict[str, list[subprocess.Popen[bytes]]] = {}
    try:
        for name, programs in arms().items():
            started[name] = [subprocess.Popen([sys.executable, "-c", p]) for p in programs]
        sleep_s(1.0)  # interpreters start
        pids = {name: [process.pid for process in some] for name, some in started.items()}
        send(signal.SIGSTOP, [pid for some in pids.values() for pid in some])
        yield pids
    finally:
        for process in [process for some in started.values() for process in some]:
            process.kill()
            process.wait()


def take_turn(meter: NoiseMeter, pids: Sequence[int]) -> NoiseRecord:
    """Let some processes run for the length of a turn; return what was read beside it."""
    reading = meter.before(pids)
    send(signal.SIGCONT, pids)
    sleep_s(TURN_S)
    send(signal.SIGSTOP, pids)
    return meter.after(reading)


def send(number: signal.Signals, pids: Sequence[int]) -> None:
    for pid in pids:
        os.kill(pid, number)
    sleep_s(0.002)  # a process is stopped when its CPU next enters the kernel


def foreign_while_idle(meter: NoiseMeter) -> float | None:
    """Return the CPUs that others use while nothing of ours runs."""
    reading = meter.before([], fresh=True)
    sleep_s(LOOK_S)
    return meter.after(reading).foreign_cores


def analysis(noises: Sequence[NoiseRecord]) -> dict[str, Any]:
    """Return the threshold that the readings ask for and what it flags.

    On a machine that was not quiet, turns that met foreign load are left out of the choice.
    """
    clean = [noise for noise in noises if not has_foreign_load(noise)]
    foreign_share = 1 - len(clean) / len(noises)
    quiet = foreign_share <= MOST_FOREIGN
    chosen = lowest_threshold(noises if quiet else clean)
    limits = {"in use": QUIET}
    if chosen is not None:
        limits["lowest"] = Thresholds(sentinel_log_ratio=chosen)
    kinds = {"all turns": noises, "turns without foreign load": clean}
    return {
        "quiet": quiet,
        "condition": condition(foreign_share, quiet=quiet),
        "foreign_share": round(foreign_share, 4),
        "slow_sentinel_share": slow_sentinel_share(clean),
        "lowest_sentinel_log_ratio": chosen,
        "sentinel_log_ratio_in_use": QUIET.sentinel_log_ratio,
        "share_flagged_by_round_size": {
            f"{kind}, {name}": {size: share_flagged(some, size, at) for size in ROUND_SIZES}
            for kind, some in kinds.items()
            for name, at in limits.items()
        },
    }


def condition(foreign_share: float, *, quiet: bool) -> str:
    """Return in words how far the recording may be relied on."""
    share = render_share(foreign_share)
    met = f"other programs used more than {QUIET.foreign_cores} CPUs in {share} of the turns"
    if quiet:
        return f"quiet: {met}"
    return f"not quiet: {met}, which the choice of the threshold leaves out; run it again"


def has_foreign_load(noise: NoiseRecord) -> bool:
    return noise.foreign_cores is not None and noise.foreign_cores > QUIET.foreign_cores


def slow_sentinel_share(noises: Sequence[NoiseRecord]) -> float:
    """Return the share of single sentinels that took more than a tenth longer than usual."""
    took_ns = [noise.sentinel_after_ns for noise in noises]
    usual_ns = median(took_ns)
    return round(sum(each > 1.1 * usual_ns for each in took_ns) / len(took_ns), 4)


def lowest_threshold(noises: Sequence[NoiseRecord]) -> float | None:
    """Return the lowest, in whole hundredths, that flags few enough in rounds of every size.

    None where the turns are too few to say so, or no threshold is low enough.
    """
    if len(noises) < FEWEST_TURNS:
        return None
    for hundredths in range(1, 100):
        limits = Thresholds(sentinel_log_ratio=hundredths / 100)
        if all(share_flagged(noises, size, limits) <= MOST_FLAGGED for size in ROUND_SIZES):
            return hundredths / 100
    return None


def share_flagged(noises: Sequence[NoiseRecord], size: int, limits: Thresholds) -> float:
    """Return the share of turns flagged when so many in a row make a round; 0 of no turns."""
    rounds = [noises[i : i + size] for i in range(0, len(noises) - size + 1, size)]
    flags = [flag for some in rounds for flag in flag_round(some, limits)]
    return round(sum(flags) / max(1, len(flags)), 4)


def spread(noises: Sequence[NoiseRecord]) -> dict[str, Any]:
    """Return quantiles over an arm's turns; sentinels over their median."""
    usual_ns = median(noise.sentinel_ns for noise in noises)
    return {
        "n": len(noises),
        "sentinel_ms": usual_ns / 1e6,
        "sentinel_ratio": quantiles_of([noise.sentinel_ns / usual_ns for noise in noises]),
        **{
            name: quantiles_of([v for n in noises if (v := getattr(n, name)) is not None])
            for name in ("foreign_cores", "steal", "pressure", "clock_mhz")
        },
    }


def quantiles_of(values: list[float]) -> dict[str, float] | None:
    """Return some quantiles, or None where nothing could be read."""
    if len(values) < 2:
        return None
    cuts = quantiles(values, n=20, method="inclusive")
    edges = {"0": min(values), "0.05": cuts[0], "0.5": cuts[9], "0.95": cuts[18], "1": max(values)}
    return {name: round(value, 4) for name, value in edges.items()}


def columns(rows: Rows) -> dict[str, list[Any]]:
    """Return the readings, one list a field."""
    fields = {name: [getattr(n, name) for _, n in rows] for name in NoiseRecord.model_fields}
    rounded = {
        name: [round(value, 5) if isinstance(value, float) else value for value in values]
        for name, values in fields.items()
    }
    return {"arm": [arm for arm, _ in rows], **rounded}


def from_columns(readings: Mapping[str, list[Any]]) -> Rows:
    """Return arm and noise of every turn: what ``columns`` took apart."""
    fields = {name: values for name, values in readings.items() if name != "arm"}
    noises = [
        NoiseRecord(**dict(zip(fields, v, strict=True))) for v in zip(*fields.values(), strict=True)
    ]
    return list(zip(readings["arm"], noises, strict=True))


def print_summary(found: Mapping[str, Any]) -> None:
    print(f"{found['n']} turns of {TURN_S} s, {found['condition']}")
    print(f"{'arm':<10}{'sentinel ms':>12}{'ratio 5 to 95 %':>18}{'foreign 95 %':>14}{'steal':>16}")
    for name, seen in found["by_arm"].items():
        ratio, foreign, steal = seen["sentinel_ratio"], seen["foreign_cores"], seen["steal"]
        stolen = f"{steal['0']} to {steal['1']}" if steal else "n/a"
        print(
            f"{name:<10}{seen['sentinel_ms']:>12.2f}"
            f"{ratio['0.05']:>9.3f} to {ratio['0.95']:.3f}"
            f"{foreign['0.95'] if foreign else 'n/a':>14}"
            f"{stolen:>16}"
        )
    print(f"lowest threshold {found['lowest_sentinel_log_ratio']}, in use {QUIET}")
    for name, shares in found["share_flagged_by_round_size"].items():
        print(f"share flagged by size of the round, {name}: {shares}")


if __name__ == "__main__":
    main()
