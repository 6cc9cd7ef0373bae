"""Amdahl's bound: what an override could save at most, from where the pilot's time went."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal, get_args

from laptime.phase import Phase
from laptime.tune import ZONE, PilotRecord
from laptime.units import render_share

Part = Literal["edges", "data_wait", "transfer", "compute", "optimizer", "collection"]
"""What an override can make shorter: parts of an epoch that do not overlap."""

PARTS: tuple[Part, ...] = get_args(Part)

COLLECTION_S = 1e-3
"""What garbage collection costs a step at most, as a rule: a step of 33 ms and more hides it."""

_PHASES: dict[Part, tuple[Phase, ...]] = {
    "data_wait": (Phase.DATA_WAIT,),
    "transfer": (Phase.TRANSFER,),
    "compute": (Phase.FORWARD, Phase.BACKWARD),
    "optimizer": (Phase.OPTIMIZER,),
}

_TITLES: dict[frozenset[Part], str] = {
    frozenset({"edges"}): "starting and ending the loader",
    frozenset({"data_wait"}): "waiting for batches",
    frozenset({"edges", "data_wait"}): "loading",
    frozenset({"transfer"}): "the copy to the device",
    frozenset({"compute"}): "forward and backward",
    frozenset({"optimizer"}): "the optimizer",
    frozenset({"collection"}): "garbage collection",
}


def share_of(pilot: PilotRecord, parts: Collection[Part]) -> float:
    """Return the share of some parts in an epoch, or in a step where no epoch is known."""
    return min(1.0, sum(_share(pilot, part) for part in parts))


def _share(pilot: PilotRecord, part: Part) -> float:
    edges = pilot.edges_s / pilot.epoch_s if pilot.steps_per_epoch else 0.0
    if part == "edges":
        return edges
    if part == "collection":
        return COLLECTION_S / pilot.step_s
    spent_ns = sum(pilot.phases_ns[phase] for phase in _PHASES[part])
    return (1 - edges) * spent_ns / pilot.wall_ns if pilot.wall_ns else 0.0


def is_worth_trying(share: float, zone: float = ZONE) -> bool:
    """Tell whether a part is large enough for a gain beyond the zone, were it gone altogether."""
    return share >= 1 or -math.log1p(-share) > math.log1p(zone)


def bound_words(pilot: PilotRecord, parts: Collection[Part]) -> str:
    """Say how small a part is: ``loading is 0.4 % of an epoch``."""
    title = _TITLES.get(frozenset(parts), "what it could save")
    verb, share = "is", render_share(share_of(pilot, parts))
    if frozenset(parts) == {"compute"}:
        verb = "are"
    if frozenset(parts) == {"collection"}:
        return f"{title} is about 1 ms a step at most, {share} of this one"
    article = "an" if pilot.unit == "epoch" else "a"
    return f"{title} {verb} {share} of {article} {pilot.unit}"
