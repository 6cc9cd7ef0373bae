"""Base settings, arms and a seed to a plan: pure, and written down before the first run."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from laptime.errors import SettingsError
from laptime.replicate import Design
from laptime.settings import RunSettings, build_settings
from laptime.study import Arm, Plan, TurnPolicy

MIN_BLOCKS = 5
"""Fewer give a table and no verdict."""


class BlockArm(Protocol):
    """What a block needs to know of an arm, a training of ours or somebody's script."""

    @property
    def name(self) -> str:
        """What it is called; no two arms of a block have one name."""

    @property
    def looks(self) -> tuple[str, ...]:
        """What is asked of its process when its turns are over."""

    def in_flight(self, facts: Mapping[str, Any]) -> int:
        """Return the batches that were under way when the workers were last stopped."""


AnyArm = TypeVar("AnyArm", bound=BlockArm)
_SomeArm = TypeVar("_SomeArm", bound=BlockArm, covariant=True)


class BlockPlan(Protocol[_SomeArm]):
    """What a block needs to know of a plan."""

    @property
    def arms(self) -> Sequence[_SomeArm]:
        """What is compared."""

    @property
    def baseline(self) -> str:
        """The name of the arm that others are compared with."""

    @property
    def blocks(self) -> int:
        """How many there will be."""

    @property
    def orders(self) -> Sequence[Sequence[Sequence[int]]]:
        """Of each block, of each round of turns: the arms, by their place in ``arms``."""

    @property
    def design(self) -> Design:
        """Arms side by side taking turns, or one after another."""

    @property
    def turns(self) -> TurnPolicy:
        """How long a turn is and when a block has enough of them."""

    @property
    def timeout_s(self) -> float:
        """An arm that answers nothing for so long is ended."""


def make_plan(
    study: str,
    arms: Sequence[Arm],
    baseline: str,
    factors: Sequence[str],
    *,
    blocks: int = MIN_BLOCKS,
    seed: int = 0,
    seeds: Sequence[int] = (),
    turns: TurnPolicy | None = None,
    **more: Any,
) -> Plan:
    """Return the plan of a study: its arms, and the order of every round of every block.

    Raises:
        SettingsError: No arm, no block and no seed, or two arms of one name.
    """
    names = [arm.name for arm in arms]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SettingsError(f"arm {twice!r} is there twice. Name each arm once.")
    if baseline not in names:
        raise SettingsError(f"arm {baseline!r} is no arm. Use one of: {', '.join(names)}.")
    policy = turns or TurnPolicy()
    return Plan(
        study=study,
        arms=tuple(arms),
        baseline=baseline,
        factors=tuple(factors),
        blocks=blocks,
        seed=seed,
        seeds=tuple(seeds),
        orders=tuple(
            block_orders(len(arms), block, policy, seed) for block in range(1, blocks + 1)
        ),
        turns=policy,
        **more,
    )


def block_orders(
    num_arms: int, block: int, policy: TurnPolicy, seed: int
) -> tuple[tuple[int, ...], ...]:
    """Return the order of the arms in each round of a block: random, and the same for one seed."""
    drawn = random.Random(f"{seed} {block}")  # noqa: S311 - an order, not a secret
    places = range(num_arms)
    return tuple(tuple(drawn.sample(places, num_arms)) for _ in range(policy.max_turns))


def varied(base: RunSettings, **changes: Any) -> RunSettings:
    """Return the base with some settings changed, checked like any others."""
    return build_settings({**base.flat(), **changes})
