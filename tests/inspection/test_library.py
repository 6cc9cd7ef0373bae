from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from torch import nn

from laptime.errors import ModelError
from laptime.inspection.library import build_any_model
from laptime.settings import ModelSettings


def build(spec: str) -> nn.Module:
    return build_any_model(ModelSettings(model=spec), 10)


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Put libraries in the place of the real ones; return what their builders were given."""
    given: dict[str, dict[str, Any]] = {}

    def note(name: str, keywords: dict[str, Any]) -> nn.Module:
        given[name] = keywords
        if name == "broken":
            raise KeyError("no\nsuch weights")
        return nn.Linear(2, 2)

    timm: Any = ModuleType("timm")
    timm.list_models = lambda: ["resnet50", "broken"]
    timm.create_model = lambda name, **keywords: note(name, keywords)
    models: Any = ModuleType("torchvision.models")
    models.list_models = lambda: ["resnet50", "fcn_resnet50"]
    builders = {
        "resnet50": lambda *, weights=None, progress=True: None,
        "fcn_resnet50": lambda *, weights=None, weights_backbone="IMAGENET1K_V1": None,
    }
    models.get_model_builder = builders.__getitem__
    models.get_model = lambda name, **keywords: note(name, keywords)
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    return given


def test_a_model_of_a_library_is_built_without_weights_so_that_nothing_is_downloaded(
    libraries: dict[str, dict[str, Any]],
) -> None:
    assert isinstance(build("timm:resnet50"), nn.Linear)
    assert libraries["resnet50"] == {"pretrained": False}
    build("torchvision:resnet50")
    assert libraries["resnet50"] == {"weights": None}
    build("torchvision:fcn_resnet50")
    assert libraries["fcn_resnet50"] == {"weights": None, "weights_backbone": None}


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("timm:resnet5", r"has no 'resnet5'. Did you mean resnet50\?"),
        ("torchvision:zzz", r"has no 'zzz'. Ask the library for its list_models\(\)."),
        ("timm:broken", r"whose library raised KeyError: 'no\\nsuch weights'. Wrap it in a fact"),
    ],
)
def test_what_a_library_cannot_build_is_refused_in_one_line(spec: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as refused:
        build(spec)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_that_is_not_there_is_named_with_the_remedy(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"{library}.models", raising=False)

    with pytest.raises(ModelError, match=rf"{library} cannot be imported: .* Install it beside"):
        build(f"{library}:resnet50")


def test_other_names_and_factories_are_built_as_for_training() -> None:
    assert type(build("resnet18")).__name__ == "ResNet18"
    assert type(build("tests.inspection.foreign:LeNet")).__name__ == "LeNet"
