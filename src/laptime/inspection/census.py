"""A model to everything that is counted of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from laptime.census import (
    CensusRecord,
    Convolutions,
    LinearLayers,
    Parameters,
    SampleRecord,
    Shape,
)
from laptime.inspection.passes import train_twice
from laptime.inspection.state import step_with
from laptime.inspection.walk import CONVOLUTIONS, Walk, walk
from laptime.settings import ModelSettings, OptimizerSettings

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm)


def take_census(
    model: nn.Module,
    settings: ModelSettings,
    optimizers: Mapping[str, OptimizerSettings],
    sample: SampleRecord,
) -> CensusRecord:
    """Count a model: a forward pass, two training passes, one step with each optimizer.

    The model is used up: its weights are then those after the steps, its buffers those after the
    passes.

    Raises:
        ModelError: The model does not take such a sample, or cannot be trained on it.
    """
    seen = walk(model, sample)
    passes = train_twice(model, sample)
    built_in = settings.model == ModelSettings().model
    return CensusRecord(
        model=settings.model,
        width=settings.width if built_in else None,
        norm=settings.norm if built_in else None,
        sample=sample,
        convolutions=_convolutions(model, seen),
        linear=_linear(model, seen),
        norms=_counted(type(m).__name__ for m in model.modules() if isinstance(m, NORMS)),
        parameters=_parameters(model),
        macs=seen.macs,
        layers=seen.layers,
        passes=passes,
        optimizers=step_with(model, optimizers),
    )


def _convolutions(model: nn.Module, seen: Walk) -> Convolutions:
    kernels = [tuple(m.kernel_size) for m in model.modules() if isinstance(m, CONVOLUTIONS)]
    called = [layer for layer in seen.layers if layer.kernel is not None]
    knows = not seen.functions and all(layer.is_projection is not None for layer in called)
    projections = sum(bool(layer.is_projection) for layer in called) if knows else None
    return Convolutions(
        total=len(kernels),
        main_path=None if projections is None else len(called) - projections,
        projections=projections,
        uncalled=len(kernels) - len(called),
        functions=seen.functions,
        by_kernel=_counted(map(_times, kernels)),
        by_stage=_counted(_times((layer.output_shape or ())[1:]) for layer in called),
    )


def _linear(model: nn.Module, seen: Walk) -> LinearLayers:
    found = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    called = [layer.name for layer in seen.layers if layer.name in found]
    last = next(reversed(called or list(found)), None)
    if last is None:
        return LinearLayers(total=0)
    in_features, seen_map = found[last].in_features, seen.last_map
    # A map that was concatenated or pooled to a grid since has another number of features.
    is_made_from = seen_map is not None and in_features in {seen_map[0], prod(seen_map)}
    return LinearLayers(
        total=len(found),
        last=last,
        in_features=in_features,
        out_features=found[last].out_features,
        last_map=seen_map if is_made_from else None,
    )


def _parameters(model: nn.Module) -> Parameters:
    every, buffers = list(model.parameters()), list(model.buffers())
    trainable = [parameter for parameter in every if parameter.requires_grad]
    return Parameters(
        trainable=_elements(trainable),
        frozen=_elements(every) - _elements(trainable),
        tensors=len(trainable),
        bytes=sum(parameter.nbytes for parameter in every),
        buffers=_elements(buffers),
        buffer_bytes=sum(buffer.nbytes for buffer in buffers),
    )


def _elements(found: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in found)


def _times(sizes: Shape) -> str:
    return "x".join(map(str, sizes))


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words))
