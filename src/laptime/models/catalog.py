"""A model's name, or a factory of the user's, to a module."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from laptime.errors import ModelError
from laptime.factory import build_from_factory, is_factory
from laptime.models.resnet import ResNet18
from laptime.settings import ModelSettings, suggestion

ModelBuilder = Callable[[ModelSettings, int], nn.Module]

MODELS: dict[str, ModelBuilder] = {
    "resnet18": lambda settings, num_classes: ResNet18(num_classes, settings.width, settings.norm),
}


def build_model(settings: ModelSettings, num_classes: int) -> nn.Module:
    """Build the model with weights from torch's global generator; seed it first.

    A factory is called without arguments: the number of classes is its own business.

    Raises:
        ModelError: The name is unknown, or the factory raises or returns no trainable module.
    """
    if is_factory(settings.model):
        return _build_foreign(settings.model)
    check_name(settings)
    return MODELS[settings.model](settings, num_classes)


def check_name(settings: ModelSettings) -> None:
    """Refuse an unknown name before anything expensive is done.

    Raises:
        ModelError: It is neither a known name nor a factory.
    """
    if settings.model not in MODELS and not is_factory(settings.model):
        raise ModelError(
            f"model is {settings.model!r}, which is unknown."
            f"{suggestion(settings.model, MODELS)} "
            f"Or give package.module:factory or file.py:factory."
        )


def num_parameters(model: nn.Module) -> int:
    """Return the number of trainable elements."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _build_foreign(spec: str) -> nn.Module:
    model = build_from_factory(spec, what="model", error=ModelError)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"model {spec} returned {type(model).__name__}, but must return a torch.nn.Module."
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError(f"model {spec} has no trainable parameter: there is nothing to train.")
    return model
