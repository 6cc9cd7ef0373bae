"""Rules on what a plan promised: every block of every arm, and seeds that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from laptime.errors import printable
from laptime.replicate import Block, Replicate, TrainedReplicate
from laptime.statistics.accuracy import trained_arms
from laptime.statistics.advice import again, command, refusal_of_arms, resumed
from laptime.statistics.summary import is_measured
from laptime.study import Plan, Refusal
from laptime.units import render_duration, seconds

FEWEST_SEEDS = 5
"""For a verdict on accuracy."""

_LONGEST_REASON = 200


def too_few_blocks(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse arms with fewer completed replicates than declared, all where blocks are missing.

    That fewer than five were declared is no refusal but a verdict: inconclusive.
    """
    missing = plan.blocks - len(blocks)
    refused = []
    if missing > 0:
        evidence = f"{len(blocks)} of {plan.blocks} blocks were run."
        remedy = resumed(plan, blocks, missing)
        refused.append(Refusal(code="too_few_blocks", evidence=evidence, next=remedy))
    found: dict[str, str] = {}
    for arm in plan.arms if plan.blocks else ():
        own = [r for block in blocks for r in block.replicates if r.arm == arm.name]
        done = sum(is_measured(replicate) for replicate in own)
        if done < len(blocks):
            found[arm.name] = f"completed {done} of {len(blocks)} blocks{_ends(own)}"
    remedy = (
        f"Mend what ended it (logs/ in the study's directory holds its output; out of memory: a "
        f"smaller --batch-size or fewer workers) or leave the arm out, and {again(plan, blocks)}"
    )
    return refused + refusal_of_arms("too_few_blocks", found, remedy)


def _ends(replicates: Sequence[Replicate]) -> str:
    """Say how the replicates without a time ended, with the first reason given."""
    lost = [replicate for replicate in replicates if not is_measured(replicate)]
    ends = Counter("no turns" if r.status == "completed" else r.status for r in lost)
    words = [f"{count} {end.replace('_', ' ')}" for end, count in ends.items()]
    reason = next((replicate.reason for replicate in lost if replicate.reason), None)
    # A reason may quote somebody else's exception.
    quoted = f": {printable(reason)[:_LONGEST_REASON]}" if reason else ""
    return f" ({', '.join(words)}{quoted})" if words else ""


def seeds(plan: Plan, trained: Sequence[TrainedReplicate]) -> list[Refusal]:
    """Refuse verdicts on accuracy from fewer than five seeds, or from seeds that count twice.

    Runs that diverged are outcomes and count as run; those that failed otherwise do not. Two
    seeds with the same losses to the last digit are one: the seed reached nothing.
    """
    if not plan.seeds:
        return []
    declared = _declared_seeds(plan)
    parts = [*declared, *_missing_runs(plan, trained), *_equal_runs(trained)]
    if not parts:
        return []
    spent_s = [seconds(run.wall_ns) for run in trained if run.wall_ns]
    cost = f" (a run takes about {render_duration(fmean(spent_s))})" if spent_s else ""
    again = f"`{command(plan)} --resume`"
    how = f"add `--seeds {FEWEST_SEEDS}` to the command that made this study" if declared else again
    remedy = f"Train {FEWEST_SEEDS} different seeds an arm: {how}{cost}"
    return [Refusal(code="seeds", evidence=f"{'; '.join(parts)}.", next=remedy)]


def _declared_seeds(plan: Plan) -> list[str]:
    twice = [str(seed) for seed, count in Counter(plan.seeds).items() if count > 1]
    parts = [f"seed {', '.join(twice)} is there more than once"] if twice else []
    distinct = len(set(plan.seeds))
    if distinct < FEWEST_SEEDS:
        seeds = "1 seed" if distinct == 1 else f"{distinct} different seeds"
        parts.append(f"{seeds} an arm; a verdict needs {FEWEST_SEEDS}")
    return parts


def _missing_runs(plan: Plan, trained: Sequence[TrainedReplicate]) -> list[str]:
    arms = [arm.name for arm in trained_arms(plan)]
    ended = {(run.arm, run.seed) for run in trained if run.status in {"completed", "diverged"}}
    missing = [(arm, seed) for arm in arms for seed in set(plan.seeds) if (arm, seed) not in ended]
    of = len(arms) * len(set(plan.seeds))
    return [f"{len(missing)} of {of} training runs are missing or failed"] if missing else []


def _equal_runs(trained: Sequence[TrainedReplicate]) -> list[str]:
    """Name the runs of one arm that are one run: of the same seed, or with the same losses."""
    done = [run for run in trained if run.status == "completed" and run.epochs]
    by_seed = Counter((run.arm, run.seed) for run in done)
    parts = [f"{arm}: seed {seed} was run {n} times" for (arm, seed), n in by_seed.items() if n > 1]
    seen: dict[tuple[object, ...], int] = {}
    for run in done:
        losses = tuple(epoch.loss for epoch in run.epochs)
        first = seen.setdefault((run.arm, *losses), run.seed)
        if first != run.seed:
            parts.append(f"{run.arm}: seeds {first} and {run.seed} gave the same losses")
    return parts
