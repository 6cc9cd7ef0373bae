"""A look at the first step of an arm: how large gradients and activations are, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from laptime.replicate import FirstStep, Layers
from laptime.studies.process import ArmEndedError
from laptime.studies.runner import Workshop
from laptime.study import Arm


def look_at_first_step(workshop: Workshop, arms: Sequence[Arm], timeout_s: float) -> FirstStep:
    """Return gradient norms and activation spreads of each arm, from a fresh process each.

    An arm that ended in the look is left out: its outcomes say why.
    """
    looks = {arm.name: _look(workshop, arm, timeout_s) for arm in arms}
    gradients, activations = (
        {name: look[what] for name, look in looks.items() if what in look}
        for what in ("gradients", "activations")
    )
    return FirstStep(gradients=gradients, activations=activations)


def _look(workshop: Workshop, arm: Arm, timeout_s: float) -> dict[str, Layers]:
    handle = workshop.start_arm(arm)
    found: dict[str, Layers] = {}
    try:
        handle.reply(timeout_s)
        for what in ("gradients", "activations"):
            found[what] = _finite(handle.ask(what, timeout_s)[what])
    except ArmEndedError as error:
        workshop.listener.warned(f"The look at the first step of {arm.name} ended: {error.reason}.")
    finally:
        handle.close()
    return found


def _finite(rows: Sequence[Sequence[Any]]) -> Layers:
    return tuple((name, value) for name, value in rows if math.isfinite(value))
