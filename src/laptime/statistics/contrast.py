"""Two runs, or two arms of studies: the ratio of their times and what may be said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, get_args

from laptime.record import RunRecord
from laptime.replicate import Stage
from laptime.settings import Frozen
from laptime.statistics.objections import (
    UNCONTROLLED,
    arm_objections,
    environment_differs,
    machine_changed,
    run_objections,
    single_runs,
)
from laptime.statistics.pairs import (
    Judgement,
    Pair,
    judge_learning,
    judge_paired,
    judge_unpaired,
)
from laptime.statistics.sides import (
    LEARNING_CONDITIONS,
    LEARNING_ZONES,
    TIME_CONDITIONS,
    ArmEvidence,
    Difference,
    Side,
    arm_side,
    conditions_differ,
    find_arm,
    run_side,
    settings_differ,
)
from laptime.statistics.summary import Quantity as TimeName
from laptime.statistics.summary import block_log_ratios, value_of
from laptime.study import SCHEMA, Comparison, Refusal, VerdictWord

Quantity = Literal["epoch", "step", "loading", "training", "accuracy", "loss"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

TIMES: Mapping[str, TimeName] = {
    "epoch": "epoch_s",
    "step": "step_s",
    "loading": "loading_s",
    "training": "training_s",
}
"""The quantities that are times, and their names in a record; all others are learned."""

ZONE = 0.03
"""Of two runs, which have no plan that declares one."""


class ArmRatio(Frozen):
    """An arm that two studies have in common, beside the one that is judged: no verdict."""

    arm: str
    ratio: float | None
    low: float | None
    high: float | None
    n_a: int
    n_b: int


class Contrast(Frozen):
    """Two sides and what may be said of A against B.

    ``ratio`` is the time of A over the time of B, with its 95 % interval; of losses and accuracies
    it is the difference A - B.
    """

    kind: Literal["runs", "studies", "arms"]
    quantity: Quantity
    a: Side
    b: Side
    ratio: float | None
    low: float | None
    high: float | None
    n_a: int
    n_b: int
    """Replicates: one of a run, however many epochs it has."""
    verdict: VerdictWord | None
    """None where the ratio is uncontrolled."""
    reason: str
    blocks_needed: int | None = None
    resolution: float | None = None
    """The smallest difference seen with 80 % power: relative, or of accuracies in their unit."""
    zone: float = ZONE
    is_paired: bool = False
    """Whether both took turns in the same blocks."""
    stage: Stage = "main"
    uncontrolled: bool = False
    settings: tuple[Difference, ...] = ()
    environment: tuple[Difference, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    arms: tuple[ArmRatio, ...] = ()

    @property
    def is_timed(self) -> bool:
        """Whether times are compared, not what was learned."""
        return self.quantity in TIMES

    def document(self) -> dict[str, Any]:
        """Return what is printed of it as JSON; what was required is added by who knows it."""
        plain = (
            "kind", "quantity", "ratio", "low", "high", "n_a", "n_b", "verdict", "reason",
            "blocks_needed", "resolution", "zone", "is_paired", "stage", "uncontrolled",
        )  # fmt: skip
        return {
            "schema": SCHEMA,
            "a": self.a.document(),
            "b": self.b.document(),
            **{name: getattr(self, name) for name in plain},
            "differences": {
                "settings": {d.name: {"a": d.a, "b": d.b} for d in self.settings},
                "environment": {d.name: {"a": d.a, "b": d.b} for d in self.environment},
            },
            "refusals": [refusal.model_dump(mode="json") for refusal in self.refusals],
            "arms": [arm.model_dump(mode="json") for arm in self.arms],
        }


def contrast_runs(
    a: RunRecord, b: RunRecord, quantity: Quantity = "epoch", *, uncontrolled: bool = False
) -> Contrast:
    """Compare two single runs: a ratio of means over steady epochs, and never a verdict.

    The epochs of a run are not independent of each other, and fresh processes of the same
    settings differ by several per cent.

    Args:
        a: The candidate.
        b: The baseline.
        quantity: What is compared.
        uncontrolled: Whether a ratio is given where conditions differ.
    """
    return contrast_sides((run_side(a), run_side(b)), quantity, uncontrolled=uncontrolled)


def contrast_sides(sides: tuple[Side, Side], quantity: Quantity, *, uncontrolled: bool) -> Contrast:
    """Return the same of two sides, each of which is a single run."""
    timed = quantity in TIMES
    unlike = conditions_differ(*sides, TIME_CONDITIONS if timed else LEARNING_CONDITIONS)
    settings = settings_differ(*sides)
    refused = environment_differs(sides[1], unlike)
    for label, side in zip("AB", sides, strict=True):
        refused += run_objections(label, side, TIMES.get(quantity))
    found = Judgement(_of_single_runs(*sides, quantity), 1, 1)
    # Where a run is useless by itself, more of them are not the next step.
    is_next = all(refusal.code in UNCONTROLLED for refusal in refused)
    single = single_runs(*sides, settings, timed=timed) if is_next else []
    return Contrast(
        kind="runs",
        quantity=quantity,
        a=sides[0],
        b=sides[1],
        settings=settings,
        environment=unlike,
        zone=ZONE if timed else LEARNING_ZONES[quantity],
        refusals=(*refused, *single),
        **_concluded(found, refused, uncontrolled=uncontrolled),
    )


def _of_single_runs(a: Side, b: Side, quantity: Quantity) -> Comparison:
    values = [getattr(side, TIMES.get(quantity, quantity)) for side in (a, b)]
    ratio = None
    if all(values):
        of_a, of_b = (value.estimate for value in values)
        if quantity not in TIMES:
            ratio = of_a - of_b
        elif of_b > 0:
            ratio = of_a / of_b
    return Comparison(
        a="A", b="B", ratio=ratio, low=None, high=None, n=1, verdict="inconclusive",
        reason="single_runs",
    )  # fmt: skip


def contrast_arms(
    a: ArmEvidence,
    b: ArmEvidence,
    quantity: Quantity = "epoch",
    *,
    whole: bool = False,
    uncontrolled: bool = False,
) -> Contrast:
    """Compare two arms: by block where they took turns in the same ones, else by Welch's test.

    Args:
        a: The candidate.
        b: The baseline.
        quantity: What is compared.
        whole: Whether two whole studies are meant, whose baselines these are.
        uncontrolled: Whether a ratio is given where conditions differ.
    """
    sides, timed, paired = (arm_side(a), arm_side(b)), quantity in TIMES, a.is_paired_with(b)
    same_study = a.study.directory == b.study.directory
    factors = a.plan.factors if same_study else ()
    names = TIME_CONDITIONS if timed else LEARNING_CONDITIONS
    unlike = conditions_differ(*sides, names, factors)
    refused = environment_differs(sides[1], unlike)
    if timed and not same_study:
        refused += machine_changed(*sides, b.plan.zone)
    refused += arm_objections(a, b, timed=timed, split=quantity in {"loading", "training"})
    concluded = _concluded(_judged(a, b, quantity), refused, uncontrolled=uncontrolled)
    withheld = concluded["verdict"] == "not measurable"
    return Contrast(
        kind="studies" if whole else "arms",
        quantity=quantity,
        a=sides[0],
        b=sides[1],
        zone=b.plan.zone if timed else LEARNING_ZONES[quantity],
        is_paired=timed and paired,
        stage=b.stage,
        settings=settings_differ(*sides),
        environment=unlike,
        refusals=tuple(refused),
        arms=_other_arms(a, b, quantity) if whole and not withheld else (),
        **concluded,
    )


def _judged(a: ArmEvidence, b: ArmEvidence, quantity: Quantity) -> Judgement:
    if quantity in TIMES:
        name = TIMES[quantity]
        if a.is_paired_with(b):
            return judge_paired(_pair(a, b, name), _family(a, b, name), b.plan.zone)
        times = [[value_of(r, name) for r in side.replicates] for side in (a, b)]
        known = [[value for value in side if value is not None] for side in times]
        return judge_unpaired(known[0], known[1], b.plan.zone)
    names = (a.arm.name, b.arm.name) if a.is_paired_with(b) else ("A", "B")
    of_a, of_b = a.learned(quantity), b.learned(quantity)
    values = {names[0]: of_a.get(a.arm.name, []), names[1]: of_b.get(b.arm.name, [])}
    if a.is_paired_with(b):
        values |= of_a
    return judge_learning(*names, values, quantity=quantity, zone=LEARNING_ZONES[quantity])


def _pair(a: ArmEvidence, b: ArmEvidence, name: TimeName) -> Pair:
    arms = (a.arm.name, b.arm.name)
    return (*arms, block_log_ratios(a.blocks, *arms, name))


def _family(a: ArmEvidence, b: ArmEvidence, name: TimeName) -> list[Pair]:
    """Return the other pairs that belong to the same claim, for Holm's correction.

    Against the baseline those that the study itself judges, so that both say the same; else all
    pairs of arms, from which this one was picked. An arm that is there twice is a check and no
    claim.
    """
    if a.arm.again_of or b.arm.again_of:
        return []
    plan = b.plan
    judged = [arm.name for arm in plan.arms if arm.feed == "loader" and arm.again_of is None]
    pairs = [(x, y) for x, y in combinations(judged, 2) if {x, y} != {a.arm.name, b.arm.name}]
    if plan.baseline in {a.arm.name, b.arm.name}:
        pairs = [pair for pair in pairs if plan.baseline in pair]
    return [(x, y, block_log_ratios(b.blocks, x, y, name)) for x, y in pairs]


def _concluded(
    found: Judgement, refused: Sequence[Refusal], *, uncontrolled: bool
) -> dict[str, Any]:
    """Return ratio and verdict, as far as the refusals leave any.

    A ratio of what was measured under other conditions is given on demand only; other refusals
    take the verdict and leave the ratio.
    """
    row = found.row
    kept: dict[str, Any] = {
        "ratio": row.ratio, "low": row.low, "high": row.high, "n_a": found.n_a, "n_b": found.n_b,
        "verdict": row.verdict, "reason": row.reason, "blocks_needed": row.blocks_needed,
        "resolution": found.resolution,
    }  # fmt: skip
    unlike = [refusal for refusal in refused if refusal.code in UNCONTROLLED]
    if unlike and uncontrolled:
        return {
            **kept, "verdict": None, "reason": "uncontrolled", "blocks_needed": None,
            "uncontrolled": True,
        }  # fmt: skip
    if not refused:
        return kept if row.ratio is not None else {**kept, **_none("no_estimate")}
    reason = (unlike or refused)[0].code
    withheld = dict.fromkeys(("ratio", "low", "high", "resolution")) if unlike else {}
    return {**kept, **withheld, **_none(reason)}


def _none(reason: str) -> dict[str, Any]:
    return {"verdict": "not measurable", "reason": reason, "blocks_needed": None}


def _other_arms(a: ArmEvidence, b: ArmEvidence, quantity: Quantity) -> tuple[ArmRatio, ...]:
    """Return the ratio of every other arm that both studies have."""
    shared = {arm.name for arm in a.study.plan.arms} - {a.arm.name, b.arm.name}
    found = []
    for arm in b.study.plan.arms:
        if arm.name not in shared or arm.feed != "loader" or arm.again_of is not None:
            continue
        pair = find_arm(a.study, arm.name), find_arm(b.study, arm.name)
        judged = _judged(*pair, quantity)
        row = judged.row
        found.append(
            ArmRatio(
                arm=arm.name, ratio=row.ratio, low=row.low, high=row.high,
                n_a=judged.n_a, n_b=judged.n_b,
            )
        )  # fmt: skip
    return tuple(found)
