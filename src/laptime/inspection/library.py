"""Models by name out of libraries that may be installed or not: timm and torchvision."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from laptime.errors import ModelError
from laptime.inspection.samples import one_line
from laptime.models.catalog import build_model
from laptime.settings import ModelSettings, suggestion


def build_any_model(settings: ModelSettings, num_classes: int) -> nn.Module:
    """Build a model by name, from a factory, or as ``timm:name`` and ``torchvision:name``.

    Raises:
        ModelError: It cannot be built.
    """
    library, _, name = settings.model.partition(":")
    if library not in LIBRARIES:
        return build_model(settings, num_classes)
    module, build = LIBRARIES[library]
    try:
        models: Any = importlib.import_module(module)
    except Exception as error:
        # A library that was built for another torch raises what it likes.
        raise ModelError(
            f"model is {settings.model!r}, but {library} cannot be imported: {one_line(error)}. "
            f"Install it beside torch, or give package.module:factory or file.py:factory."
        ) from error
    known = models.list_models()
    if name not in known:
        raise ModelError(
            f"model is {settings.model!r}, but {library} has no {name[:60]!r}."
            f"{_nearest(name[:60], known)}"
        )
    return _built(settings.model, lambda: build(models, name))


def _built(spec: str, build: Callable[[], nn.Module]) -> nn.Module:
    try:
        return build()
    except Exception as error:
        raise ModelError(
            f"model is {spec!r}, whose library raised {one_line(error)}. Wrap it in a factory: "
            f"file.py:factory."
        ) from error


def _nearest(name: str, known: list[str]) -> str:
    hint = suggestion(name, dict.fromkeys(known))
    return hint if hint.startswith(" Did") else " Ask the library for its list_models()."


def _from_timm(models: Any, name: str) -> nn.Module:
    model: nn.Module = models.create_model(name, pretrained=False)
    return model


def _from_torchvision(models: Any, name: str) -> nn.Module:
    """Build without weights: a segmentation model would download those of its backbone."""
    taken = inspect.signature(models.get_model_builder(name)).parameters
    without: Mapping[str, None] = {"weights_backbone": None} if "weights_backbone" in taken else {}
    model: nn.Module = models.get_model(name, weights=None, **without)
    return model


LIBRARIES: dict[str, tuple[str, Callable[[Any, str], nn.Module]]] = {
    "timm": ("timm", _from_timm),
    "torchvision": ("torchvision.models", _from_torchvision),
}
"""The module that is imported, and what builds a model from it."""
