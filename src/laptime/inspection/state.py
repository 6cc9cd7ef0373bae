"""What really exists after a step: gradients and optimizer state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn, optim

from laptime.census import STEP, OptimizerState
from laptime.errors import ModelError
from laptime.inspection.optimizers import describe
from laptime.inspection.passes import gradients_of, num_nonzero
from laptime.inspection.samples import one_line
from laptime.settings import OptimizerSettings
from laptime.training.optimizers import build_optimizer


def step_with(
    model: nn.Module, optimizers: Mapping[str, OptimizerSettings]
) -> dict[str, OptimizerState]:
    """Take one step with each optimizer on the gradients that are there, and count what exists.

    The weights are changed by every step and not put back: what is counted does not depend on
    them, and the gradients stay those of the weights before.

    Raises:
        ModelError: An optimizer cannot step this model.
    """
    return {name: _step(model, name, settings) for name, settings in optimizers.items()}


def _step(model: nn.Module, name: str, settings: OptimizerSettings) -> OptimizerState:
    try:
        optimizer = build_optimizer(model, settings)
        optimizer.step()
    except RuntimeError as error:
        raise ModelError(
            f"{name} cannot step this model: {one_line(error)}. Leave it out of --optimizers."
        ) from error
    gradients = gradients_of(model)
    elements: Counter[str] = Counter()
    for kind, value in _kept(optimizer):
        elements[kind] += value.numel() if isinstance(value, Tensor) else 1
    return OptimizerState(
        settings=describe(settings),
        gradient_tensors=len(gradients),
        gradient_elements=sum(gradient.numel() for gradient in gradients),
        gradient_bytes=sum(gradient.nbytes for gradient in gradients),
        nonzero_gradients=num_nonzero(gradients),
        state_elements=dict(elements),
        step_counters=elements[STEP],
        state_bytes=sum(v.nbytes for _, v in _kept(optimizer) if isinstance(v, Tensor)),
    )


def _kept(optimizer: optim.Optimizer) -> Iterator[tuple[str, Any]]:
    """Return kind and value of everything that an optimizer keeps between steps."""
    for state in optimizer.state.values():
        for kind, value in state.items():
            if value is not None:
                yield kind, value
