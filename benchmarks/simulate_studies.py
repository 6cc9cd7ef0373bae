"""Run ``python benchmarks/simulate_studies.py``: what verdicts and recommendations are worth.

Studies are simulated with noise of known families and known truth, and judged by the functions
that judge real ones: how often intervals cover the truth, verdicts are wrong, and effects are
found. Then searches for a number of workers: simulate_searches.py. Some minutes on one core. It
reports, and does not pass or fail; tests/statistics/test_simulation.py does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from laptime.statistics.intervals import resolution, smallest_gap
from laptime.statistics.verdict import judge_accuracies, judge_all, judge_times
from laptime.study import Comparison

Values = npt.NDArray[np.float64]
Slots = npt.NDArray[np.int64]
Random = np.random.Generator

SEED = 0
ZONE = 0.03
STUDIES = 10_000
"""Studies a family, spread and number of blocks."""
BLOCKS = (5, 10)
SDS = (0.01, 0.025, 0.05, 0.08)
"""Of a block's log ratio between two equal arms, without what turns and families add."""
GAPS = (0.0, 2 * ZONE, 0.075, 0.10)
MIN_ROUNDS, MAX_ROUNDS, TARGET_SE = 4, 24, 0.0075
"""When a block ends, as declared in the plan of a study."""
TURN_SD = 0.02
STEPS = 20
"""Steps a turn."""


def main() -> None:
    from overhead import write_result
    from simulate_searches import simulate_searches

    cells = [(family, sd, blocks) for blocks in BLOCKS for family in FAMILIES for sd in SDS]
    verdicts = [judged(*cell, STUDIES) for cell in cells]
    found = {
        "what": "simulated studies and searches, judged by laptime.statistics",
        "n": STUDIES,
        "seed": SEED,
        "zone": ZONE,
        "turn_sd": TURN_SD,
        "worst": {str(blocks): worst(verdicts, blocks) for blocks in BLOCKS},
        "verdicts": verdicts,
        "sequential_order_under_drift": [sequential_control(sd, STUDIES) for sd in SDS],
        "many_arms": [many_arms(arms, STUDIES // 5) for arms in (3, 6)],
        "accuracies": [accuracies(seeds, STUDIES // 5) for seeds in (5, 10)],
        "searches": simulate_searches(),
    }
    write_result("simulation.json", found)
    show(found)


# Noise: logs of the time of a turn, shape (studies, blocks, arms, rounds).


@dataclass(frozen=True)
class Schedule:
    """The slots of a machine's time in which turns fall, and the spread of processes."""

    sd: float
    """Of a block's log ratio, without what turns add."""
    slots: Slots
    """When each turn was run: shape (studies, blocks, arms, rounds)."""

    @property
    def last(self) -> int:
        """Slots of the whole study."""
        return math.prod(self.slots.shape[1:])

    def processes(self, random: Random) -> Values:
        """Return one normal effect a process: the spread that turns cannot see."""
        return random.normal(0, self.sd / math.sqrt(2), (*self.slots.shape[:3], 1))

    def turns(self, random: Random) -> Values:
        """Return normal noise of the turns alone."""
        return random.normal(0, TURN_SD, self.slots.shape)


def lognormal(schedule: Schedule, random: Random) -> Values:
    """Processes and turns are spread log-normally, and nothing else."""
    return schedule.processes(random) + schedule.turns(random)


def bimodal(schedule: Schedule, random: Random) -> Values:
    """Three processes in ten are of a slow kind: memory layout, a bad core."""
    slow = random.random((*schedule.slots.shape[:3], 1)) < 0.3
    distance = schedule.sd / math.sqrt(2) / math.sqrt(0.3 * 0.7)
    return slow * distance + schedule.turns(random)


def autoregressive(schedule: Schedule, random: Random) -> Values:
    """The machine's speed wanders: AR(1), correlated 0.95 from slot to slot."""
    studies, phi = schedule.slots.shape[0], 0.95
    steps = random.normal(0, 0.05 * math.sqrt(1 - phi**2), (studies, schedule.last))
    speed = np.empty_like(steps)
    speed[:, 0] = random.normal(0, 0.05, studies)
    for slot in range(1, schedule.last):
        speed[:, slot] = phi * speed[:, slot - 1] + steps[:, slot]
    return lognormal(schedule, random) + _at(speed, schedule.slots)


def drift(schedule: Schedule, random: Random) -> Values:
    """The machine slows down by a fifth from the first turn to the last."""
    return lognormal(schedule, random) + math.log(1.2) * schedule.slots / schedule.last


def spikes(schedule: Schedule, random: Random) -> Values:
    """One step in a hundred takes five times as long."""
    struck = random.binomial(STEPS, 0.01, schedule.slots.shape)
    return lognormal(schedule, random) + np.log1p(4 * struck / STEPS)


def spiked_turns(schedule: Schedule, random: Random) -> Values:
    """One whole turn in a hundred takes five times as long."""
    struck = random.random(schedule.slots.shape) < 0.01
    return lognormal(schedule, random) + struck * math.log(5)


def level_shift(schedule: Schedule, random: Random) -> Values:
    """The machine slows down by 15 % at once, somewhere in the middle half of the study."""
    when = random.uniform(0.25, 0.75, (schedule.slots.shape[0], 1, 1, 1)) * schedule.last
    return lognormal(schedule, random) + math.log(1.15) * (schedule.slots > when)


def _at(of_slot: Values, slots: Slots) -> Values:
    flat = np.take_along_axis(of_slot, slots.reshape(len(slots), -1), axis=1)
    return flat.reshape(slots.shape)


FAMILIES: dict[str, Callable[[Schedule, Random], Values]] = {
    "lognormal": lognormal,
    "bimodal": bimodal,
    "autoregressive": autoregressive,
    "drift": drift,
    "spikes": spikes,
    "spiked_turns": spiked_turns,
    "level_shift": level_shift,
}


# Designs: which slot a turn falls into, and what a block amounts to.


def turns_design(studies: int, blocks: int, random: Random) -> Slots:
    """Return slots of arms that take turns, in random order in each round."""
    first = random.integers(0, 2, (studies, blocks, 1, MAX_ROUNDS))
    places = np.concatenate([first, 1 - first], axis=2)
    rounds = np.arange(blocks)[:, None, None] * MAX_ROUNDS + np.arange(MAX_ROUNDS)
    slots: Slots = 2 * rounds + places
    return slots


def sequential_design(studies: int, blocks: int) -> Slots:
    """Return slots of all blocks of a, and then all blocks of b: how not to do it."""
    slots = np.arange(2 * blocks * MAX_ROUNDS).reshape(2, blocks, MAX_ROUNDS).swapaxes(0, 1)
    return np.broadcast_to(slots, (studies, blocks, 2, MAX_ROUNDS))


def block_ratios(log_times: Values) -> Values:
    """Return a log ratio a block, over the turns until it is as sure as declared."""
    ratios = log_times[:, :, 0] - log_times[:, :, 1]  # (studies, blocks, rounds)
    rounds = np.arange(1, ratios.shape[-1] + 1)
    means = np.cumsum(ratios, axis=-1) / rounds
    squares = np.cumsum(ratios**2, axis=-1) - rounds * means**2
    variances = np.maximum(squares, 0) / np.maximum(1, rounds - 1) / rounds
    enough = (variances <= TARGET_SE**2) & (rounds >= MIN_ROUNDS)
    enough[..., -1] = True
    last = np.argmax(enough, axis=-1)
    ended: Values = np.take_along_axis(means, last[..., None], axis=-1)[..., 0]
    return ended


def simulated(
    family: str, sd: float, blocks: int, studies: int, *, sequential: bool = False
) -> Values:
    """Return the log ratios of studies of two equal arms: shape (studies, blocks)."""
    random = np.random.default_rng([SEED, list(FAMILIES).index(family), round(sd * 1e4), blocks])
    parts = []
    for done in range(0, studies, 1000):  # memory
        size = min(1000, studies - done)
        turns = turns_design(size, blocks, random)
        slots = sequential_design(size, blocks) if sequential else turns
        parts.append(block_ratios(FAMILIES[family](Schedule(sd, slots), random)))
    return np.concatenate(parts)


def judged(family: str, sd: float, blocks: int, studies: int) -> dict[str, Any]:
    """Return the shares of verdicts at each true gap, and of intervals that cover it."""
    ratios = simulated(family, sd, blocks, studies)
    rows = {gap: verdicts_of(ratios + math.log1p(gap)) for gap in GAPS}
    found = {gap: shares(row.verdict for row in of_gap) for gap, of_gap in rows.items()}
    objected = [row.reason == "robust_test_disagrees" for of_gap in rows.values() for row in of_gap]
    return {
        "family": family,
        "sd": sd,
        "blocks": blocks,
        "block_sd": float(np.sqrt(np.mean(np.var(ratios, axis=1, ddof=1)))),
        "coverage": coverage(rows[0.0]),
        "false_verdicts": found[0.0].get("faster", 0) + found[0.0].get("slower", 0),
        "equivalent": found[0.0].get("equivalent", 0),
        "false_equivalent": found[2 * ZONE].get("equivalent", 0),
        "power_7.5": found[0.075].get("slower", 0),
        "power_10": found[0.10].get("slower", 0),
        "robust_test_disagrees": sum(objected) / len(objected),
        "verdicts": {f"{gap:g}": of_gap for gap, of_gap in found.items()},
    }


def verdicts_of(ratios: Values) -> list[Comparison]:
    """Judge each study by its log ratios."""
    return [judge_times("a", "b", row, ZONE) for row in ratios.tolist()]


def shares(words: Iterable[str]) -> dict[str, float]:
    """Return the share of each word."""
    counts = Counter(words)
    return {word: count / counts.total() for word, count in sorted(counts.items())}


def coverage(rows: Sequence[Comparison]) -> float:
    """Return the share of intervals that contain equality."""
    return sum((row.low or 0) <= 1 <= (row.high or 0) for row in rows) / len(rows)


def sequential_control(sd: float, studies: int) -> dict[str, float]:
    """Return the coverage under drift when all of a is run before all of b."""
    rows = verdicts_of(simulated("drift", sd, 5, studies, sequential=True))
    found = shares(row.verdict for row in rows)
    wrong = found.get("faster", 0) + found.get("slower", 0)
    return {"sd": sd, "coverage": coverage(rows), "false_verdicts": wrong}


def many_arms(arms: int, studies: int, blocks: int = 5, sd: float = 0.025) -> dict[str, float]:
    """Return how often studies of equal arms make any false claim, with Holm and without."""
    random = np.random.default_rng([SEED, arms])
    claims = {"faster", "slower", "small difference"}
    plain = corrected = 0
    for _ in range(studies):
        times = random.normal(0, sd / math.sqrt(2), (arms, blocks))
        pairs = [
            (str(i), str(j), (times[i] - times[j]).tolist())
            for i, j in combinations(range(arms), 2)
        ]
        plain += any(judge_times(*pair, ZONE).verdict in claims for pair in pairs)
        corrected += any(row.verdict in claims for row in judge_all(pairs, ZONE))
    return {"arms": arms, "plain": plain / studies, "holm": corrected / studies}


def accuracies(seeds: int, studies: int, sd: float = 0.004, arms: int = 4) -> dict[str, float]:
    """Return false claims between equal arms, and how often the smallest gap is seen."""
    random = np.random.default_rng([SEED, seeds])
    false = seen = resolved = 0
    gap = smallest_gap(sd, seeds, seeds)
    for _ in range(studies):
        equal = {str(arm): random.normal(0.9, sd, seeds).tolist() for arm in range(arms)}
        rows = judge_accuracies(equal, quantity="accuracy")
        false += any(row.verdict in {"higher", "lower"} for row in rows)
        two = {"a": random.normal(0.9 + gap, sd, seeds).tolist(), "b": equal["0"]}
        seen += judge_accuracies(two, quantity="accuracy")[0].verdict == "higher"
        resolved += _resolved(random, seeds)
    return {
        "seeds": seeds,
        "arms": arms,
        "false_claims": false / studies,
        "smallest_gap_in_sd": gap / sd,
        "smallest_gap_seen": seen / studies,
        "resolution_seen": resolved / studies,
    }


def _resolved(random: Random, blocks: int, sd: float = 0.025) -> bool:
    """Return whether an effect as large as another study's resolution is seen in one study."""
    effect = resolution(random.normal(0, sd, blocks).tolist())
    assert effect is not None
    row = judge_times("a", "b", random.normal(math.log1p(effect), sd, blocks).tolist(), ZONE)
    return row.low is not None and row.low > 1


def worst(verdicts: Sequence[dict[str, Any]], blocks: int) -> dict[str, float]:
    """Return the worst cell of each figure."""
    rows = [row for row in verdicts if row["blocks"] == blocks]
    return {
        "coverage_least": min(row["coverage"] for row in rows),
        "coverage_most": max(row["coverage"] for row in rows),
        "false_verdicts": max(row["false_verdicts"] for row in rows),
        "false_equivalent": max(row["false_equivalent"] for row in rows),
    }


def show(found: dict[str, Any]) -> None:
    """Print the figures as tables."""
    print(
        "family            sd   n  blocksd  cover  A/A false  A/A equiv  2zone equiv  7.5 %  10 %"
    )
    for row in found["verdicts"]:
        print(
            f"{row['family']:<14}{row['sd']:>6.1%}{row['blocks']:>4}{row['block_sd']:>9.2%}"
            f"{row['coverage']:>7.3f}{row['false_verdicts']:>11.4f}{row['equivalent']:>11.3f}"
            f"{row['false_equivalent']:>13.4f}{row['power_7.5']:>7.3f}{row['power_10']:>6.3f}"
        )
    for row in found["sequential_order_under_drift"]:
        print(f"sequential under drift, sd {row['sd']:.1%}: coverage {row['coverage']:.3f}")
    for row in (*found["many_arms"], *found["accuracies"]):
        print("  ".join(f"{name} {value:g}" for name, value in row.items()))
    for sd, searches in found["searches"].items():
        print(f"turns {sd}: flat curves get the smallest: {searches['flat_smallest']:.3f}")
        for kind, row in {"all": searches["all"], **searches["kinds"]}.items():
            print(f"  {kind:<14}" + "  ".join(f"{k} {v:.3f}" for k, v in row.items()))


if __name__ == "__main__":
    main()
