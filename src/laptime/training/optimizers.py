"""An optimizer's name and settings to an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn, optim

from laptime.settings import OptimizerSettings

OptimizerBuilder = Callable[[Iterable[nn.Parameter], OptimizerSettings], optim.Optimizer]


def _sgd(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> optim.Optimizer:
    return optim.SGD(
        parameters,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        **_form(settings),
    )


def _nesterov(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> optim.Optimizer:
    return optim.SGD(
        parameters,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=True,
        **_form(settings),
    )


def _plain(rule: Callable[..., optim.Optimizer]) -> OptimizerBuilder:
    """Return a builder for a rule that has no momentum of SGD's kind."""

    def build(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> optim.Optimizer:
        return rule(
            parameters, lr=settings.lr, weight_decay=settings.weight_decay, **_form(settings)
        )

    return build


WARM_UP = 0.2
"""The share of all steps in which onecycle rises."""


def scheduled_lr(settings: OptimizerSettings, step: int, num_steps: int) -> float:
    """Return the learning rate of a step, a function of its number alone: resuming is exact.

    ``onecycle`` rises in a straight line and falls in another (Smith and Topin 2017,
    "Super-Convergence", without its last phase).

    Args:
        settings: Which schedule, and its highest rate.
        step: 1-based, over all epochs.
        num_steps: Of all epochs.
    """
    if settings.schedule == "constant":
        return settings.lr
    progress = (step - 0.5) / num_steps  # no step has a rate of 0
    return settings.lr * min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))


def set_lr(optimizer: optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def _form(settings: OptimizerSettings) -> dict[str, bool]:
    """Return the argument that asks for the fused form; without it torch chooses."""
    return {"fused": True} if settings.fused else {}


OPTIMIZERS: dict[str, OptimizerBuilder] = {
    "sgd": _sgd,
    "nesterov": _nesterov,
    "adagrad": _plain(optim.Adagrad),
    "adadelta": _plain(optim.Adadelta),
    "adam": _plain(optim.Adam),
    "adamw": _plain(optim.AdamW),
}


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> optim.Optimizer:
    """Build the optimizer over the trainable parameters, with torch's defaults for the rest."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return OPTIMIZERS[settings.optimizer](trainable, settings)
