"""Reasons not to conclude from two sides: unlike conditions, a changed machine, single runs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from laptime.statistics.refusals import refusals
from laptime.statistics.sides import DEVICE, ArmEvidence, Difference, Side
from laptime.statistics.summary import Quantity as TimeName
from laptime.statistics.summary import not_measurable
from laptime.study import Comparison, Refusal
from laptime.timing.noise import QUIET
from laptime.units import render_percent

UNCONTROLLED = frozenset({"environment_differs", "machine_changed", "clock_change"})
"""Codes of what ``--uncontrolled`` looks past; the ratio may then be all due to them."""

_MOST_DIFFERENCES = 4

_ENDS = {
    "diverged": "Check that its inputs are finite, or take smaller steps, and run it again",
    "failed": "Mend what ended it and run it again",
    "out_of_memory": "Use a smaller --batch-size or fewer workers and run it again",
}
"""How a run ends that describes nothing, and what to do."""


def environment_differs(b: Side, found: Sequence[Difference]) -> list[Refusal]:
    """Refuse two sides that were measured under different conditions."""
    if not found:
        return []
    shown = [f"{d.name} {d.a or 'none'} against {d.b or 'none'}" for d in found]
    more = len(shown) - _MOST_DIFFERENCES
    listed = "; ".join(shown[:_MOST_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
    if {d.name for d in found} <= set(DEVICE) and b.arm is None and b.command is None:
        remedy = f"`laptime study devices {_like(b)}` times both devices side by side"
    else:
        remedy = "Measure both on one machine, with one installation and one copy of the data"
    return [Refusal(code="environment_differs", evidence=f"{listed}.", next=f"{remedy}.")]


def machine_changed(a: Side, b: Side, zone: float) -> list[Refusal]:
    """Refuse two studies between which the machine itself became slower or faster.

    By the median of the sentinel, a fixed piece of work beside every turn, and by the CPU clock.
    """
    found = []
    remedy = "Measure both anew, one right after the other, when the machine does nothing else."
    if a.sentinel_ns and b.sentinel_ns and _apart(a.sentinel_ns, b.sentinel_ns) > zone:
        evidence = (
            f"The sentinel took {a.sentinel_ns:.1f} ns a repetition in A and {b.sentinel_ns:.1f} "
            f"ns in B (medians): {render_percent(_apart(a.sentinel_ns, b.sentinel_ns))} apart."
        )
        found.append(Refusal(code="machine_changed", evidence=evidence, next=remedy))
    if a.clock_mhz and b.clock_mhz and _apart(a.clock_mhz, b.clock_mhz) > QUIET.clock_share:
        evidence = f"The CPU clock was {a.clock_mhz:,.0f} MHz in A and {b.clock_mhz:,.0f} in B."
        found.append(Refusal(code="clock_change", evidence=evidence, next=remedy))
    return found


def _apart(a: float, b: float) -> float:
    return math.expm1(abs(math.log(a / b)))


def run_objections(label: str, side: Side, time: TimeName | None) -> list[Refusal]:
    """Refuse a run that ended badly, has no epoch to compare, or did not time what is asked for.

    Args:
        label: A or B.
        side: The run.
        time: Which of its times is compared; None: what was learned is.
    """
    found = []
    if side.status in _ENDS:
        why = f": {side.reason}" if side.reason else ""
        evidence = f"{label} {side.status.replace('_', ' ')}{why}."
        found.append((side.status, evidence, f"{_ENDS[side.status]}."))
    steady = side.step_s if time == "step_s" else side.epoch_s
    if time and steady is None:
        evidence = f"{label} has no epoch that is whole, in one piece and not the cold first one."
        or_step = ", or compare --quantity step" if side.step_s else ""
        found.append(("no_steady_state", evidence, f"Train for two epochs or more{or_step}."))
    elif time in {"loading_s", "training_s"} and side.loading_s is None:
        found.append(("timing_off", f"The timing of {label} was off.", "Use --timing auto."))
    if not time and side.status in {"interrupted", "running"} and side.command is None:
        evidence = f"{label} has {len(side.epochs)} of {side.settings['epochs']} epochs."
        remedy = f"`laptime train --resume {shlex.quote(side.directory)}` goes on with it."
        found.append(("incomplete", evidence, remedy))
    return [Refusal(code=c, evidence=e, next=n, arms=(label,)) for c, e, n in found]


def arm_objections(a: ArmEvidence, b: ArmEvidence, *, timed: bool, split: bool) -> list[Refusal]:
    """Return what the studies of two arms refuse themselves, as far as it is about these arms."""
    found: list[Refusal] = []
    quantity = "epoch_s" if timed else "accuracy"
    if a.is_paired_with(b):
        found += _of_study(a, _row(a.arm.name, b.arm.name, quantity))
    else:
        for label, side in (("A", a), ("B", b)):
            own = _of_study(side, _row(side.arm.name, side.arm.name, quantity))
            found += [r.model_copy(update={"evidence": f"{label}: {r.evidence}"}) for r in own]
    off = [n for n, e in (("A", a), ("B", b)) if e.arm.settings.training.timing == "off"]
    if split and off:
        evidence = f"The timing of {' and '.join(off)} was off."
        found.append(Refusal(code="timing_off", evidence=evidence, next="Use --timing auto."))
    return found


def _of_study(side: ArmEvidence, row: Comparison) -> list[Refusal]:
    study = side.study
    everything = refusals(side.plan, study.blocks, study.trained, stage=side.stage)
    return [refusal for refusal in everything if not_measurable((row,), (refusal,))[0] is not row]


def _row(a: str, b: str, quantity: str) -> Comparison:
    return Comparison(
        a=a, b=b, quantity=quantity, ratio=None, low=None, high=None, n=0, verdict="inconclusive",
        reason="not_judged",
    )  # fmt: skip


def single_runs(a: Side, b: Side, differing: Sequence[Difference], *, timed: bool) -> list[Refusal]:
    """Refuse a verdict from one run of each, and name the study that would decide."""
    evidence = (
        "there is one of each, the epochs of a run are not independent, and fresh processes of the "
        "same settings differ too."
    )
    if b.command is not None:
        remedy = f"`laptime tune -- {b.command}` holds settings against each other in turns."
    else:
        remedy = _deciding_study(a, b, {d.name: (d.a, d.b) for d in differing}, timed=timed)
    return [Refusal(code="single_runs", evidence=evidence, next=remedy)]


def _deciding_study(
    a: Side, b: Side, differing: dict[str, tuple[object, object]], *, timed: bool
) -> str:
    studies = {
        "num_workers": ("workers", "--num-workers"),
        "optimizer": ("optimizers", "--optimizers"),
        "norm": ("batchnorm", None),
    }
    for name, (study, option) in studies.items():
        if name not in differing or (name == "num_workers" and not timed):
            continue
        values = [str(value) for value in sorted(differing[name], key=_order)]
        words = f" {option} {','.join(values)}" if option else ""
        others = [other.replace("_", "-") for other in differing if other != name]
        held = f" (it holds {', '.join(others)} fixed, as in B)" if others else ""
        return f"`laptime study {study} {_like(b)}{words}` would decide{held}."
    return _two_studies(a, b, timed=timed)


def _order(value: object) -> tuple[bool, float, str]:
    number = value if isinstance(value, int) else math.inf
    return not isinstance(value, int), number, str(value)


def _two_studies(a: Side, b: Side, *, timed: bool) -> str:
    """Return the way where no study varies what differs: one of each, and their arms compared."""
    if timed:
        arm, study, words = str(b.conditions.get("device", "cpu")), "devices", ""
    else:
        arm, study = str(b.settings["optimizer"]), "optimizers"
        words = f" --optimizers {arm},{'sgd' if arm == 'adam' else 'adam'}"
    commands = [f"`laptime study {study} {_like(side)}{words}`" for side in (a, b)]
    return (
        f"{commands[0]} and {commands[1]}, then `laptime compare STUDY_A:{arm} STUDY_B:{arm}`, "
        f"would decide."
    )


def _like(side: Side) -> str:
    """Return the options that name a run for a study to be like."""
    parent = PurePath(side.directory).parent
    if parent.is_absolute():
        return f"--like {shlex.quote(side.directory)}"
    where = "" if str(parent) == "runs" else f" --runs-dir {shlex.quote(str(parent))}"
    return f"--like {shlex.quote(side.id)}{where}"
