"""How long each part of the lab takes: from one short look at its training, and its structure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from laptime.labs.plans import Outlook
from laptime.settings import RunSettings
from laptime.studies.price import Pilot, price_of
from laptime.studies.scale import QUICK
from laptime.studies.training_plans import training_order
from laptime.study import Plan

INSPECTION_S = 5.0
"""Two models counted, six optimizers stepped, the machine's roofs; 2 cores, torch 2.13."""

_STUDY_S = 4.0
"""Of a study beside its blocks and runs: its own first look, statistics, charts."""

_FULL_STEPS = 5
"""Of the model that is predicted for: warm-up and those that count."""

_FULL_TO_QUICK = 93
"""Steps of quick scale in one of the assigned model: 3.1 s to 33 ms, 2 cores, torch 2.13."""

_PREPARE_STEPS = 6
"""Of those that ``prepare`` runs."""

_ALONE_BATCHES, _ALONE_S = 20, 5.0
"""Of the look at the loader alone, in every block: as many batches, or as much time."""

_USUAL_SAMPLES = 50_000
"""Of the training sets that come with laptime."""

LIMIT = 1.75
"""A study is given so many times what it was said to take at most ..."""

_LIMIT_MORE_S = 20.0
"""... and so much more at least: a first look of some seconds may be wrong by that."""


@dataclass(frozen=True)
class Expected:
    """Seconds that a part takes: with the fewest turns in every block, and with the most."""

    low_s: float
    high_s: float

    @property
    def typical_s(self) -> float:
        """In between, as many times the low as the high is this."""
        return math.sqrt(self.low_s * self.high_s)


def limit_s(most_s: float) -> float:
    """Return what a study is given, so that a busy machine cannot double what was said.

    A budget keeps blocks and turns as they are while the study's own first look is no slower
    than the lab's by half. At its end no further block and no further run begins.
    """
    return most_s + max((LIMIT - 1) * most_s, _LIMIT_MORE_S)


@dataclass(frozen=True)
class Probe:
    """What a first look at the lab's training showed."""

    pilot: Pilot
    devices: tuple[str, ...]
    """Of this machine, the fastest last."""
    slow_step_s: float | None = None
    """Of a step on the first device, where there is a faster one too."""
    simultaneous: int = 1
    """Training runs at a time."""


def expected_run(settings: RunSettings, pilot: Pilot) -> Expected:
    """Return how long one run takes in this process, which has imported torch."""
    setup_s = pilot.prepare_s + pilot.later_s
    run_s = setup_s + settings.training.epochs * epoch_s(settings, pilot)
    return Expected(run_s, run_s)


def expected_studies(outlooks: Mapping[str, Outlook], probe: Probe) -> dict[str, Expected]:
    """Return how long each study takes, by its part."""
    return {part: _study(outlook, probe) for part, outlook in outlooks.items()}


def epoch_s(settings: RunSettings, pilot: Pilot) -> float:
    """Return the time of an epoch, if a step takes in it what it took the first look."""
    loader = settings.loader
    steps = (settings.data.samples or _USUAL_SAMPLES) / loader.batch_size
    return steps * max(pilot.step_s, pilot.load_s / max(1, loader.num_workers))


def _study(outlook: Outlook, probe: Probe) -> Expected:
    pilot = probe.pilot
    beside_s = _STUDY_S + pilot.start_s + pilot.prepare_s + outlook.looks * pilot.start_s
    beside_s += _trainings_s(outlook, probe)
    beside_s += sum(_whole_run_s(settings, pilot) for settings in outlook.tables)
    if outlook.full is not None:
        beside_s += pilot.start_s + _FULL_STEPS * _full_step_s(outlook.plan, pilot)
    spans = [_blocks(outlook.plan, probe)]
    if outlook.fresh is not None:
        spans.append(_blocks(outlook.fresh, probe))
    return Expected(
        beside_s + sum(span.low_s for span in spans),
        beside_s + sum(span.high_s for span in spans),
    )


def _blocks(plan: Plan, probe: Probe) -> Expected:
    """Return the time of all blocks of a plan, slow devices at their own pace."""
    if plan.study == "devices" and probe.slow_step_s is not None:
        return _blocks_of_devices(plan, probe, probe.slow_step_s)
    price = price_of(plan, probe.pilot)
    alone_s = plan.blocks * _alone_s(plan, probe.pilot)
    return Expected(price.least_s + alone_s, price.most_s + alone_s)


def _blocks_of_devices(plan: Plan, probe: Probe, slow_step_s: float) -> Expected:
    fast = probe.pilot
    more_s = _PREPARE_STEPS * (slow_step_s - fast.step_s)
    slow = replace(fast, step_s=slow_step_s, prepare_s=fast.prepare_s + max(0.0, more_s))
    prices = [
        price_of(
            plan.model_copy(update={"arms": (arm,)}),
            slow if arm.name == probe.devices[0] else fast,
        )
        for arm in plan.arms
    ]
    # Each of these starts as if it were the first of its block.
    twice_s = plan.blocks * (len(prices) - 1) * (fast.start_s - fast.later_s)
    alone_s = plan.blocks * _alone_s(plan, fast)
    return Expected(
        sum(price.least_s for price in prices) + alone_s - twice_s,
        sum(price.most_s for price in prices) + alone_s - twice_s,
    )


def _alone_s(plan: Plan, pilot: Pilot) -> float:
    arms = [arm for arm in plan.arms if arm.feed == "loader"]
    workers = [max(1, arm.settings.loader.num_workers) for arm in arms]
    batches = [max(_ALONE_BATCHES, 2 * count) for count in workers]
    return sum(
        min(_ALONE_S, pilot.load_s * of / count) for of, count in zip(batches, workers, strict=True)
    )


def _trainings_s(outlook: Outlook, probe: Probe) -> float:
    """Return the time of the plan's training runs, some of them at a time."""
    order: Sequence[object] = training_order(outlook.plan)
    runs = len(order) - outlook.adopted
    if runs < 1:
        return 0.0
    settings = outlook.plan.arms[0].settings
    return math.ceil(runs / probe.simultaneous) * _whole_run_s(settings, probe.pilot)


def _whole_run_s(settings: RunSettings, pilot: Pilot) -> float:
    """Return the time of one run in a process of its own."""
    return pilot.start_s + pilot.prepare_s + settings.training.epochs * epoch_s(settings, pilot)


def _full_step_s(plan: Plan, pilot: Pilot) -> float:
    """Return the step of the assigned model, as far as one of a smaller model tells."""
    settings = plan.arms[0].settings
    size = settings.model.width**2 * settings.loader.batch_size
    quick: int = QUICK["width"] ** 2 * QUICK["batch_size"]
    return _FULL_TO_QUICK * pilot.step_s * quick / size
