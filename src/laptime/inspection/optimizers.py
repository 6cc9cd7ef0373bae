"""Which optimizers a model is stepped with, by the name under which each is reported."""

from __future__ import annotations

from collections.abc import Iterable

from laptime.errors import SettingsError
from laptime.settings import OptimizerSettings, choices, suggestion

PLAIN_SGD = "sgd without momentum"


def choose_optimizers(
    names: Iterable[str], base: OptimizerSettings
) -> dict[str, OptimizerSettings]:
    """Return the settings of each optimizer; SGD with momentum brings SGD without along.

    Raises:
        SettingsError: A name is unknown, or nesterov is to do without momentum.
    """
    found: dict[str, OptimizerSettings] = {}
    for name in names:
        if name not in choices("optimizer"):
            known = choices("optimizer")
            raise SettingsError(
                f"optimizer {name[:60]!r} is unknown.{suggestion(name[:60], known)}"
            )
        if name == "nesterov" and not base.momentum:
            raise SettingsError(
                "momentum is 0, but nesterov needs some. Use --momentum 0.9, or leave nesterov out."
            )
        found[name] = base.model_copy(update={"optimizer": name})
        if name == "sgd" and base.momentum:
            found[PLAIN_SGD] = found[name].model_copy(update={"momentum": 0.0})
    return found


def describe(settings: OptimizerSettings) -> str:
    """Return how an optimizer is made, in words."""
    parts = [f"lr {settings.lr:g}", f"weight decay {settings.weight_decay:g}"]
    if settings.optimizer in {"sgd", "nesterov"}:
        parts.insert(1, f"momentum {settings.momentum:g}")
    return ", ".join(parts)
