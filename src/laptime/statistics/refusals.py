"""When nothing is concluded: every rule, applied in the order in which causes precede effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from laptime.replicate import Block, Stage, TrainedReplicate
from laptime.statistics.agreement import arms_differ, environment_differs, losses_differ
from laptime.statistics.completeness import seeds, too_few_blocks
from laptime.statistics.plausibility import (
    Roof,
    asynchronous_host,
    ledger_closure,
    overhead,
    physics,
    short_window,
)
from laptime.statistics.steadiness import aa_differs, clock_change, contaminated, no_steady_state
from laptime.study import Plan, Refusal

Suspicion = tuple[str, str]
"""An explanation that no experiment has confirmed, and the experiment that would decide."""

Rule = Callable[[Plan, Sequence[Block]], list[Refusal]]


def refusals(
    plan: Plan,
    blocks: Sequence[Block],
    trained: Sequence[TrainedReplicate] = (),
    *,
    suspected: Sequence[Suspicion] = (),
    roof: Roof | None = None,
    stage: Stage = "main",
) -> tuple[Refusal, ...]:
    """Return every reason not to conclude; empty where the study may be believed.

    About the whole study, without arms: ``environment_differs`` and ``too_few_blocks`` where all
    arms are concerned alike, ``contaminated``, ``aa_differs``, ``seeds`` (accuracy only) and
    ``unconfirmed_explanation`` (the explanation only). All others, and these where only some arms
    are concerned, name their arms: verdicts between other arms stand. A refusal about the
    baseline takes every verdict with it.

    Args:
        plan: What was declared before the first run.
        blocks: Of all stages; those of the stage asked for are looked at.
        trained: Training runs, for accuracy.
        suspected: Explanations that no experiment has confirmed.
        roof: Peaks of the device, where they are known.
        stage: Whose plan it is.
    """
    chosen = [block for block in blocks if block.stage == stage]
    rules: tuple[Rule, ...] = (
        arms_differ,
        environment_differs,
        losses_differ,
        asynchronous_host,
        ledger_closure,
        lambda plan, blocks: physics(plan, blocks, roof),
        too_few_blocks,
        short_window,
        overhead,
        contaminated,
        clock_change,
        no_steady_state,
        aa_differs,
    )
    found = [refusal for rule in rules for refusal in rule(plan, chosen)]
    return (*found, *seeds(plan, trained), *unconfirmed_explanation(suspected))


def unconfirmed_explanation(suspected: Sequence[Suspicion]) -> list[Refusal]:
    """Refuse to call an explanation more than suspected before its experiment was run."""
    return [
        Refusal(code="unconfirmed_explanation", evidence=f"Suspected: {text}", next=experiment)
        for text, experiment in suspected
    ]
