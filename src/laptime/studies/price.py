"""What a study will cost, predicted from one short look at its baseline arm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from laptime.errors import SettingsError
from laptime.studies.process import ArmEndedError, ArmHandle
from laptime.studies.starters import FORKS
from laptime.study import Arm, Plan, TurnPolicy
from laptime.timing.clock import read_ns
from laptime.units import render_duration, seconds

_SENTINEL_S = 0.07
_PILOT_STEPS = 5
_PILOT_S = 0.25


@dataclass(frozen=True)
class Pilot:
    """What one look at the baseline arm showed."""

    start_s: float
    """From nothing to data and model."""
    later_s: float
    """What each further arm of a block adds to that."""
    prepare_s: float
    """Warm-up steps, loader starts and ends."""
    step_s: float
    load_s: float
    """Of one batch, by one worker or the training process, with nothing else to do."""
    device: str = "cpu"


@dataclass(frozen=True)
class Price:
    """Seconds of the blocks of a plan: with the fewest turns, and with the most."""

    blocks: int
    least_block_s: float
    most_block_s: float
    device: str = "cpu"

    @property
    def least_s(self) -> float:
        """All blocks, if each is as quiet as it can be."""
        return self.blocks * self.least_block_s

    @property
    def most_s(self) -> float:
        """All blocks, if each takes all of its turns."""
        return self.blocks * self.most_block_s

    def words(self) -> str:
        """Say it in words, device-minutes included where there is a device to pay for."""
        low, high = render_duration(self.least_s), render_duration(self.most_s)
        span = f"about {low}" if low == high else f"between {low} and {high}"
        device = "" if self.device == "cpu" else f", all of it on {self.device}"
        blocks = "1 block takes" if self.blocks == 1 else f"{self.blocks} blocks take"
        return f"{blocks} {span}{device}"


def measure_pilot(
    arm: Arm, start_arm: Callable[[Arm], ArmHandle], timeout_s: float, cpus: int
) -> Pilot:
    """Start one arm, warm it up, take a few batches, and end it.

    Raises:
        SettingsError: The arm refuses its settings, its data or its model.
        ArmEndedError: It ended in another way: the price stays unknown.
    """
    start_ns = read_ns()
    handle = start_arm(arm)
    try:
        handle.reply(timeout_s)
        built_ns = read_ns()
        facts = handle.ask("prepare", timeout_s)
        prepared_ns = read_ns()
        turn = handle.ask("turn", timeout_s, discard=0, min_steps=_PILOT_STEPS, min_s=_PILOT_S)
        flight = facts["num_workers"] * arm.settings.loader.prefetch_factor
        alone = handle.ask(
            "alone", timeout_s, discard=flight, steps=max(1, facts["num_workers"]), longest_s=1.0
        )
    except ArmEndedError as error:
        if error.refused:
            raise SettingsError(error.reason) from error
        raise
    finally:
        handle.close()
    return Pilot(
        start_s=seconds(built_ns - start_ns),
        later_s=seconds(facts["setup_ns"] if FORKS else (built_ns - start_ns) // cpus),
        prepare_s=seconds(prepared_ns - built_ns),
        step_s=seconds(turn["wall_ns"]) / turn["steps"],
        load_s=seconds(alone["alone_ns"]) / alone["alone_batches"] * max(1, facts["num_workers"]),
        device=facts["environment"]["device"],
    )


def known_pilot(
    arm: Arm,
    start_arm: Callable[[Arm], ArmHandle],
    timeout_s: float,
    warn: Callable[[str], None],
    cpus: int,
) -> Pilot | None:
    """Return the pilot, or None where the baseline arm ended in it: the price is unknown then."""
    try:
        return measure_pilot(arm, start_arm, timeout_s, cpus)
    except ArmEndedError as error:
        warn(f"The price is unknown: the first look at arm {arm.name} ended ({error.reason}).")
        return None


def price_of(plan: Plan, pilot: Pilot) -> Price:
    """Return what the plan's blocks will take."""
    least, most = (
        _block_s(plan, pilot, turns) for turns in (plan.turns.min_turns, plan.turns.max_turns)
    )
    return Price(plan.blocks, least, most, pilot.device)


def within_budget(
    plan_of: Callable[[int, TurnPolicy], Plan],
    blocks: int,
    policy: TurnPolicy,
    pilot: Pilot,
    left_s: float,
    budget_s: float,
) -> tuple[Plan, str | None]:
    """Return the plan that fits into what is left, and what that cost; blocks go last.

    Raises:
        SettingsError: Not even one block fits; says the least that does.
    """
    plan = plan_of(blocks, policy)
    price = price_of(plan, pilot)
    if price.most_s <= left_s:
        return plan, None
    fit = int(left_s / price.least_block_s)
    if fit < 1:
        # Half as much again: other parts of the study take their share of what is added.
        enough_s = math.ceil(budget_s + 1.5 * (price.least_block_s - left_s))
        raise SettingsError(
            f"budget is {render_duration(budget_s)}, of which {render_duration(max(0.0, left_s))} "
            f"is left for blocks, but one takes at least {render_duration(price.least_block_s)} "
            f"here. Give --budget {enough_s}s, or fewer arms."
        )
    fit = min(blocks, fit)
    most = policy.min_turns
    while most < policy.max_turns:
        wider = plan_of(fit, policy.model_copy(update={"max_turns": most + 1}))
        if price_of(wider, pilot).most_s > left_s:
            break
        most += 1
    narrowed = policy.model_copy(update={"max_turns": most})
    cost = f"{fit} of {blocks} blocks, up to {most} of {policy.max_turns} turns each"
    return plan_of(fit, narrowed), cost


def _block_s(plan: Plan, pilot: Pilot, turns: int) -> float:
    arms = plan.arms
    starts_s = pilot.start_s + pilot.later_s * (len(arms) - 1)
    prepares_s = pilot.prepare_s * len(arms)
    return starts_s + prepares_s + sum(turns * _turn_s(plan, arm, pilot) for arm in arms)


def _turn_s(plan: Plan, arm: Arm, pilot: Pilot) -> float:
    workers = 0 if arm.feed == "resident" else arm.settings.loader.num_workers
    step_s = max(pilot.step_s, pilot.load_s / workers if workers else pilot.load_s)
    counted = max(plan.turns.min_steps, math.ceil(plan.turns.min_s / max(step_s, 1e-6)))
    discarded = workers * arm.settings.loader.prefetch_factor
    return (counted + discarded) * step_s + _SENTINEL_S
