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
