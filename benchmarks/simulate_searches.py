"""Simulated searches for a number of loader workers; benchmarks/simulate_studies.py runs them.

Curves of known truth are searched by the functions that search real ones, with simulated turns:
short trials of pairs, then whole blocks of the survivors, then the plateau.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from laptime.statistics.elimination import (
    CANDIDATES,
    Plateau,
    Trial,
    incumbent,
    next_candidate,
    plateau,
    survivors,
)

Values = npt.NDArray[np.float64]
Random = np.random.Generator

SEED = 0
ZONE = 0.03
BLOCKS = 5
MIN_ROUNDS, MAX_ROUNDS, TARGET_SE = 4, 24, 0.0075
"""When a block ends, as declared in the plan of a study."""
TRIAL_ROUNDS = MIN_ROUNDS
"""Of a trial: few, since whoever survives is measured in whole blocks."""
TURN_SDS = (0.02, 0.04)
"""Spread of one turn, in logs: a usual machine and a restless one."""

KINDS = {
    "saturating": 34, "peaked": 34, "flat": 33, "two_humped": 33, "memory_capped": 33, "noisy": 33,
}  # fmt: skip
"""Curves of a bank: 200."""
BANKS = 5
FLAT_CURVES = 1000


def simulate_searches(banks: int = BANKS, flat_curves: int = FLAT_CURVES) -> dict[str, Any]:
    """Return what searches find on banks of 200 curves and on flat ones, by spread of turns."""
    return {f"{sd:g}": _simulate(sd, banks, flat_curves) for sd in TURN_SDS}


def _simulate(turn_sd: float, banks: int, flat_curves: int) -> dict[str, Any]:
    rows = [
        [
            searched(kind, bank * size + index, turn_sd)
            for kind, size in KINDS.items()
            for index in range(size)
        ]
        for bank in range(banks)
    ]
    curves = [row for bank in rows for row in bank]
    flat = [searched("flat", 10_000 + index, turn_sd) for index in range(flat_curves)]
    smallest = sum(row["recommended"] == row["smallest"] for row in flat)
    return {
        "curves": len(curves),
        "flat_curves": len(flat),
        "flat_smallest": smallest / len(flat),
        "all": summary(curves),
        "within_zone_by_bank": [summary(bank)["within_zone"] for bank in rows],
        "kinds": {kind: summary([r for r in curves if r["kind"] == kind]) for kind in KINDS},
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the shares of good recommendations, and the cost against measuring everything."""

    def good(name: str) -> float:
        regrets: list[float] = [row[name] for row in rows if row[name] is not None]
        return sum(regret <= ZONE for regret in regrets) / len(rows)

    costs = np.array([row["spent_s"] / row["exhaustive_s"] for row in rows])
    total = math.fsum(row["spent_s"] for row in rows)
    return {
        "within_zone": good("regret"),
        "none": sum(row["recommended"] is None for row in rows) / len(rows),
        "worst_regret": max(row["regret"] or 0.0 for row in rows),
        "exhaustive_within_zone": good("exhaustive_regret"),
        "bound_holds": sum(row["bound_holds"] for row in rows) / len(rows),
        "cost": total / math.fsum(row["exhaustive_s"] for row in rows),
        "cost_median": float(np.median(costs)),
        "cost_most": float(costs.max()),
    }


@dataclass(frozen=True)
class Curve:
    """The true time of an epoch by number of workers, and how noisy its machine is."""

    epoch_s: dict[int, float]
    block_sd: float


def synthetic_curve(kind: str, random: Random) -> Curve:
    """Return a curve of a kind, with random constants."""
    most = int(random.integers(3, 8)) if kind == "memory_capped" else len(CANDIDATES)
    load = 0.0 if kind == "flat" else math.exp(random.uniform(math.log(0.2), math.log(12)))
    cost = 0.0 if kind == "flat" else math.exp(random.uniform(math.log(1e-4), math.log(5e-3)))
    sharpness = random.uniform(4, 12)
    cores = int(random.choice([2, 4, 8, 16]))
    slope = random.uniform(0.05, 0.3) if kind == "peaked" else 0.0
    times = {}
    for w in CANDIDATES[:most]:
        loading = load / max(1, w) + cost * w
        step = 1 + load if w == 0 else (1 + loading**sharpness) ** (1 / sharpness)
        times[w] = step * (1 + slope * max(0.0, math.log2(max(1, w) / cores)))
    if kind == "two_humped":
        times = _second_hump(times, random)
    sd = 0.04 if kind == "noisy" else random.uniform(0.01, 0.02)
    return Curve(times, sd)


def _second_hump(times: dict[int, float], random: Random) -> dict[int, float]:
    """Make a curve slower in the middle, and fastest well beyond where it was."""
    first, octaves = float(random.choice([1, 2, 4])), random.uniform(2, 3)
    depth, height, width = random.uniform(0.08, 0.25), random.uniform(0.05, 0.2), 0.8
    changed = {}
    for w, time in times.items():
        place = math.log2(max(0.5, w) / first)
        middle = height * math.exp(-(((place - octaves / 2) / 0.6) ** 2))
        changed[w] = time * (1 + middle - depth * math.exp(-(((place - octaves) / width) ** 2)))
    return changed


@dataclass
class Machine:
    """Runs simulated turns of a curve, and adds up how long they took."""

    curve: Curve
    random: Random
    turn_sd: float
    spent_s: float = 0.0

    def block(self, arms: Sequence[int], most: int = MAX_ROUNDS) -> Values:
        """Return the log time of each turn of fresh processes: shape (arms, rounds)."""
        sd = self.curve.block_sd / math.sqrt(2)
        true = np.log([self.curve.epoch_s[w] for w in arms])[:, None]
        process = self.random.normal(0, sd, (len(arms), 1))
        times = true + process + self.random.normal(0, self.turn_sd, (len(arms), MAX_ROUNDS))
        ratios = times[1:] - times[0]
        rounds = MIN_ROUNDS
        while rounds < most and len(arms) > 1:
            se = np.std(ratios[:, :rounds], axis=1, ddof=1) / math.sqrt(rounds)
            if se.max() <= TARGET_SE:
                break
            rounds += 1
        self.spent_s += rounds * sum(self.curve.epoch_s[w] for w in arms)
        return times[:, :rounds]

    def trial(self, candidate: int, holder: int) -> Trial:
        """Return the log ratios of a candidate and the incumbent, as a pair."""
        times = self.block([candidate, holder], TRIAL_ROUNDS)
        return Trial(candidate, holder, tuple((times[0] - times[1]).tolist()))


def search(machine: Machine, candidates: Sequence[int]) -> tuple[tuple[int, ...], Plateau]:
    """Find a number of workers as a study does; return the survivors and the plateau."""
    trials: list[Trial] = []
    while (candidate := next_candidate(trials, candidates, ZONE)) is not None:
        trials.append(machine.trial(candidate, incumbent(trials, candidates[0], ZONE)))
    arms = survivors(trials, ZONE)
    return arms, plateau(measured(machine, arms), ZONE)


def measured(machine: Machine, arms: Sequence[int]) -> dict[int, list[float]]:
    """Return the log epoch of each arm in each of some blocks."""
    rows = [machine.block(arms).mean(axis=1) for _ in range(BLOCKS)]
    return {w: [float(row[place]) for row in rows] for place, w in enumerate(arms)}


def searched(kind: str, index: int, turn_sd: float) -> dict[str, Any]:
    """Return what a search on a curve recommends, its true regret, and its cost."""
    random = np.random.default_rng([SEED, list(KINDS).index(kind), index])
    curve = synthetic_curve(kind, random)
    candidates = list(curve.epoch_s)
    machine, exhaustive = (Machine(curve, random, turn_sd) for _ in range(2))
    arms, found = search(machine, candidates)
    everything = plateau(measured(exhaustive, candidates), ZONE)
    return {
        "kind": kind,
        "recommended": found.recommended,
        "smallest": candidates[0],
        "regret": _regret(curve, found, candidates),
        "exhaustive_regret": _regret(curve, everything, candidates),
        "bound_holds": found.regret_bound is None
        or (_regret(curve, found, arms) or 0.0) <= found.regret_bound,
        "spent_s": machine.spent_s,
        "exhaustive_s": exhaustive.spent_s,
        "survivors": arms,
    }


def _regret(curve: Curve, found: Plateau, among: Sequence[int]) -> float | None:
    """Return how much slower than the best of some the recommended one truly is; a fraction."""
    if found.recommended is None:
        return None
    return curve.epoch_s[found.recommended] / min(curve.epoch_s[w] for w in among) - 1
