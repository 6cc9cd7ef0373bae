"""Rules on what arms must share: settings, environment, data, and the losses of equal work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from laptime.record import EnvironmentRecord
from laptime.replicate import Block, Replicate
from laptime.statistics.advice import again, refusal_of_arms
from laptime.statistics.summary import baseline_of, twin_pairs
from laptime.study import Arm, Plan, Refusal

LOSS_TOLERANCES = {"workers": (1e-3,) * 5, "devices": (1e-3, 5e-3)}
"""Of the studies whose arms compute the same: how far the first losses may be apart, relatively.

Devices round differently, and at lr 0.1 with batch norm rounding alone grows: two ways of computing
on one CPU were apart by 4e-4 at step 2 and by 6e-3 at step 3. Other batches or weights are off by
far more at once.
"""

_MACHINE = (
    "cpu", "cpus_usable", "cpus_total", "memory_bytes", "platform", "python", "torch", "laptime",
    "threads", "interop_threads", "start_method", "variables", "clock_resolution_ns",
)  # fmt: skip
# Not here: free memory and shared memory, which other programs change; git, which changes with
# every edit of a text.

_DEVICE = ("device", "device_name", "cuda", "cudnn", "driver")
_DATA = frozenset({"data", "data_dir", "samples"})
_MOST_DIFFERENCES = 4


def arms_differ(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse arms that differ from the baseline in a setting that is not a declared factor.

    An arm that is there once more must equal the first in every setting, factors included.
    """
    found: dict[str, str] = {}
    baseline = baseline_of(plan)
    pairs = [(arm, baseline) for arm in plan.arms if baseline is not None]
    for arm, other in (*pairs, *twin_pairs(plan)):
        factors = () if arm.again_of == other.name else plan.factors
        differing = [text for name, text in _differences(arm, other) if name not in factors]
        if differing:
            found[arm.name] = _listed(differing)
    remedy = "Make the arms equal in these settings, or declare them as factors: then " + again(
        plan, blocks
    )
    return refusal_of_arms("arms_differ", found, remedy)


def _differences(arm: Arm, other: Arm) -> Iterator[tuple[str, str]]:
    """Yield the settings in which two arms differ, each with both values."""
    theirs = other.settings.flat()
    for name, value in arm.settings.flat().items():
        if value != theirs[name]:
            yield name, f"{name} is {value}, in {other.name} {theirs[name]}"


def environment_differs(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse arms measured elsewhere than the baseline: machine, versions, threads, data.

    Where the baseline itself changed between blocks (a study resumed after an update) the whole
    study is refused. What a declared factor changes by itself is no difference.
    """
    replicates = [r for block in blocks for r in block.replicates]
    of_baseline = [r for r in replicates if r.arm == plan.baseline and r.environment]
    if not of_baseline:
        return []
    found: dict[str, str] = {}
    for replicate in replicates:
        differing = _facts_differ(plan, replicate, of_baseline[0])
        if differing and replicate.arm not in found:
            found[replicate.arm] = _listed(differing)
    remedy = f"On one machine with one installation and one copy of the data, {again(plan, blocks)}"
    if plan.baseline in found:
        evidence = f"The baseline changed between blocks: {found[plan.baseline]}."
        return [Refusal(code="environment_differs", evidence=evidence, next=remedy)]
    return refusal_of_arms("environment_differs", found, remedy)


def _facts_differ(plan: Plan, replicate: Replicate, other: Replicate) -> list[str]:
    """Return in words what two replicates were measured under, where it differs."""
    found: list[str] = []
    if replicate.environment and other.environment:
        found += _environments_differ(plan, replicate.environment, other.environment)
    if _DATA & set(plan.factors) or not replicate.environment:
        return found
    if replicate.data_label != other.data_label:
        found.append(_contrast("data", replicate.data_label, other.data_label))
    if replicate.data_sha256 != other.data_sha256:
        ours, theirs = replicate.data_sha256 or "unknown", other.data_sha256 or "unknown"
        found.append(_contrast("data checksum", ours[:12], theirs[:12]))
    return found


def _environments_differ(
    plan: Plan, ours: EnvironmentRecord, theirs: EnvironmentRecord
) -> list[str]:
    fields = _MACHINE if "device" in plan.factors else _MACHINE + _DEVICE
    return [
        _contrast(name, getattr(ours, name), getattr(theirs, name))
        for name in fields
        if name not in plan.factors and getattr(ours, name) != getattr(theirs, name)
    ]


def _contrast(name: str, ours: Any, theirs: Any) -> str:
    return f"{name} {_shown(ours)}, in the baseline {_shown(theirs)}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{name}={given}" for name, given in value) or "none"
    return str(value)


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_DIFFERENCES
    return "; ".join(texts[:_MOST_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def losses_differ(plan: Plan, blocks: Sequence[Block]) -> list[Refusal]:
    """Refuse arms of the same work whose first losses differ: they did not compute the same.

    In studies of workers and devices only. A loss that is not finite agrees with none but
    another such. Arms fed with resident batches repeat their batches and are left out.
    """
    if plan.study not in LOSS_TOLERANCES:
        return []
    fed = {arm.name for arm in plan.arms if arm.feed == "loader"}
    tolerances = LOSS_TOLERANCES[plan.study]
    found: dict[str, str] = {}
    for block in blocks:
        losses = {r.arm: r.first_losses for r in block.replicates if r.arm in fed}
        for arm, ours in losses.items():
            text = _first_disagreement(ours, losses.get(plan.baseline, ()), tolerances)
            if text and arm not in found:
                found[arm] = f"in block {block.block} {text}"
    remedy = (
        f"Train both arms for one epoch with `laptime train --deterministic` (minutes) and compare "
        f"their losses: does the dataset draw random numbers that depend on the worker? "
        f"Then {again(plan, blocks)}"
    )
    return refusal_of_arms("losses_differ", found, remedy)


def _first_disagreement(
    ours: Sequence[float | None],
    theirs: Sequence[float | None],
    tolerances: Sequence[float],
) -> str | None:
    for step, (a, b, tolerance) in enumerate(zip(ours, theirs, tolerances, strict=False), 1):
        if not _agree(a, b, tolerance):
            return f"the loss of step {step} is {_loss(a)}, in the baseline {_loss(b)}"
    return None


def _agree(a: float | None, b: float | None, tolerance: float) -> bool:
    ours, theirs = (math.nan if loss is None else loss for loss in (a, b))
    if not math.isfinite(ours) or not math.isfinite(theirs):
        return math.isfinite(ours) == math.isfinite(theirs)
    return math.isclose(ours, theirs, rel_tol=tolerance, abs_tol=1e-9)


def _loss(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.6g}"
