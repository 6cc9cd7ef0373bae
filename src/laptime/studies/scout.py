"""The ascent over worker counts: pairs of live processes until more cannot help."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from laptime.replicate import Block, Replicate
from laptime.settings import RunSettings
from laptime.statistics.elimination import (
    CANDIDATES,
    Trial,
    incumbent,
    next_candidate,
    survivors,
)
from laptime.studies.block import BlockRun
from laptime.studies.plan import make_plan
from laptime.studies.runner import Workshop
from laptime.studies.worker_arms import FACTORS, worker_arms
from laptime.study import Plan, TurnPolicy
from laptime.timing.environment import usable_memory_bytes

_MEMORY_SHARE = 0.8
"""Of the memory that is free: workers may take so much together."""


def plan_scout(base: RunSettings, most: int | None, policy: TurnPolicy) -> Plan:
    """Return what the ascent may try, in order; each trial is one block of two arms."""
    counts = [count for count in CANDIDATES if most is None or count <= most]
    current = base.loader.num_workers
    if current not in counts and (most is None or current <= most):
        counts = sorted([*counts, current])
    short = policy.model_copy(update={"max_turns": policy.min_turns})
    arms = worker_arms(base, counts)
    return make_plan(
        "workers", arms, arms[0].name, FACTORS,
        blocks=len(arms), seed=base.training.seed, turns=short,
    )  # fmt: skip


def scout(
    workshop: Workshop, plan: Plan, free_bytes: Callable[[], int] = usable_memory_bytes
) -> tuple[int, ...]:
    """Try counts until more cannot help, and return those that deserve whole blocks.

    Trials are stored as blocks; those that are there already are not run again.
    """
    directory = workshop.directory
    directory.write_plan(plan, "scout")
    counts = [int(arm.name) for arm in plan.arms]
    blocks = directory.read_blocks("scout")
    if len(blocks) < 1:
        workshop.listener.stage_started(plan, "scout", None)
    while True:
        trials = [trial_of(block) for block in blocks]
        allowed = affordable(counts, blocks, free_bytes())
        candidate = next_candidate(trials, allowed, plan.zone)
        if candidate is None:
            return survivors(trials, plan.zone) or (counts[0],)
        against = incumbent(trials, counts[0], plan.zone)
        number = len(blocks) + 1
        workshop.listener.block_started(number, plan.blocks)
        pair = _pair(plan, against, candidate, number)
        run = BlockRun(
            pair, workshop.start_arm, workshop.meter, workshop.listener,
            stage="scout", close_looks=False,
        )  # fmt: skip
        block = run.run(1).model_copy(update={"block": number})
        directory.append_block(block)
        workshop.listener.block_ended(block, pair)
        blocks.append(block)


def trial_of(block: Block) -> Trial:
    """Return a stored trial: first the count to beat, then the candidate."""
    against, candidate = block.replicates
    return Trial(int(candidate.arm), int(against.arm), tuple(_log_ratios(candidate, against)))


def affordable(counts: Sequence[int], blocks: Sequence[Block], free_bytes: int) -> list[int]:
    """Return the counts whose workers fit into memory, judged by those measured so far."""
    each = [
        replicate.worker_bytes / replicate.num_workers
        for block in blocks
        for replicate in block.replicates
        if replicate.worker_bytes and replicate.num_workers
    ]
    if not each:
        return list(counts)
    most = _MEMORY_SHARE * free_bytes / max(each)
    return [count for count in counts if count <= most or count <= 1]


def _pair(plan: Plan, against: int, candidate: int, number: int) -> Plan:
    arms = [plan.arm(str(against)), plan.arm(str(candidate))]
    return make_plan(
        plan.study, arms, str(against), plan.factors,
        blocks=1, seed=plan.seed * 1009 + number, turns=plan.turns, timeout_s=plan.timeout_s,
    )  # fmt: skip


def _log_ratios(candidate: Replicate, against: Replicate) -> list[float]:
    """Return ln of the ratio of composed epochs, one a round that both took part in."""
    if candidate.epoch_s is None or against.epoch_s is None:
        return []
    slower = {turn.round: candidate.epoch_of(turn) for turn in candidate.turns}
    base = {turn.round: against.epoch_of(turn) for turn in against.turns}
    return [math.log(slower[r] / base[r]) for r in slower if r in base]
