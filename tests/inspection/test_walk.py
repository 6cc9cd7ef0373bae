from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.inspection.foreign import FOREIGN, Bottleneck, census_of
from torch import Tensor, nn

from laptime.census import SampleRecord
from laptime.errors import ModelError
from laptime.inspection.walk import walk


class Twice(nn.Module):
    """One convolution, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.conv(self.conv(x)).mean((2, 3)))


class Late(nn.Module):
    """Layers whose sizes, and one that itself, are not there before the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.LazyConv2d(4, 3), nn.LazyLinear(5)
        self.late: nn.Module | None = None

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x).flatten(1)
        if self.late is None:
            self.late = nn.Linear(x.shape[1], 7)
        return {"a": self.head(x), "b": (self.late(x), None, "text")}


class Forgiving(nn.Module):
    """A call that raises, and is caught."""

    def __init__(self) -> None:
        super().__init__()
        self.bad, self.good = nn.Sequential(nn.Linear(7, 7)), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Any:
        try:
            self.bad(x)
        except RuntimeError:
            return self.good(x)


class Split(nn.Module):
    """A list of layers, which is never called itself, and keyword arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(8, 4), nn.Linear(4, 2)])

    def forward(self, x: Tensor) -> Any:
        for part in self.parts:
            x = part(input=x)
        return [x]


def test_a_layer_that_is_called_twice_counts_once_and_its_arithmetic_twice() -> None:
    found = census_of(Twice)

    assert found.convolutions.total == 1
    assert found.convolutions.by_stage == {"8x8": 1}
    assert found.macs == 2 * 8 * 8 * (3 * 3 * 9) + 3 * 2
    assert {layer.name: layer.calls for layer in found.layers} == {"": 1, "conv": 2, "head": 1}


def test_layers_that_are_built_by_the_first_call_are_counted() -> None:
    found = census_of(Late)

    assert [layer.name for layer in found.layers] == ["", "conv", "head", "late"]
    assert [layer.kind for layer in found.layers] == ["Late", "Conv2d", "Linear", "Linear"]
    sizes = 4 * 6 * 6
    assert found.parameters.trainable == 4 * (27 + 1) + 5 * (sizes + 1) + 7 * (sizes + 1)
    assert (found.linear.last, found.linear.out_features) == ("late", 7)


def test_a_call_that_raised_and_was_caught_spoils_no_other() -> None:
    found = census_of(Forgiving)

    assert {layer.name: layer.depth for layer in found.layers}["good"] == 1
    assert found.macs == 8 * 8 * 3 * 2
    assert found.layers[0].macs == found.macs


def test_a_hook_of_the_models_own_that_raises_spoils_no_call() -> None:
    def build() -> nn.Module:
        model = Forgiving()

        def refuse(*_: object) -> None:
            raise RuntimeError("not this one")

        model.bad.register_forward_pre_hook(refuse)
        return model

    found = census_of(build)

    assert [(layer.name, layer.depth) for layer in found.layers] == [("", 0), ("good", 1)]


def test_layers_of_a_list_stand_under_the_module_that_calls_them() -> None:
    found = census_of(Split, (8,))

    assert [(layer.name, layer.depth) for layer in found.layers] == [
        ("", 0), ("parts.0", 1), ("parts.1", 1),
    ]  # fmt: skip
    assert found.layers[1].input_shape == (8,)
    assert found.layers[1].output_shape == (4,)


def test_a_model_of_one_layer_is_that_layer() -> None:
    found = census_of(lambda: nn.Conv1d(2, 4, 3), (2, 10))

    assert (found.layers[0].name, found.layers[0].kernel) == ("", (3,))
    assert found.convolutions.by_stage == {"8": 1}
    assert found.macs == 8 * 2 * 4 * 3


def test_a_model_without_any_layer_is_counted() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale[:, None, None]

    found = census_of(Scale)

    assert (found.convolutions.total, found.linear.total, found.macs) == (0, 0, 0)
    assert found.parameters.trainable == 3
    assert found.linear.last is None


def test_watching_changes_neither_weights_nor_running_means_nor_leaves_hooks() -> None:
    model = Bottleneck()
    before = copy.deepcopy(model.state_dict())

    walk(model, SampleRecord(shape=(3, 8, 8)))

    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]


def test_hooks_go_when_the_second_pass_fails() -> None:
    class Once(nn.Linear):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError("once only")
            return super().forward(x)

    model = Once(4, 2)
    with pytest.raises(ModelError, match="once only"):
        walk(model, SampleRecord(shape=(4,)))

    assert not model._forward_hooks
    assert torch.backends.mha.get_fastpath_enabled()


def test_attention_in_evaluation_mode_is_not_hidden_in_one_operation() -> None:
    known = FOREIGN["transformer"]

    seen = walk(known.build().requires_grad_(requires_grad=False), SampleRecord(shape=(3, 32, 32)))

    assert seen.macs == known.macs


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("no\nway"), "ValueError: no way"),
        (SystemExit(0), "SystemExit: 0"),
        (RuntimeError("x" * 500), "RuntimeError: xxx"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_model_that_raises_is_refused_in_one_line(raised: BaseException, said: str) -> None:
    class Raising(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise raised

    with pytest.raises(ModelError) as refused:
        census_of(lambda: Raising(2, 2))

    text = str(refused.value)
    assert "does not take values of shape (1, 3, 8, 8) in evaluation mode" in text
    assert said in text
    assert "--input" in text
    assert "\n" not in text
    assert len(text) < 500


def test_whole_numbers_are_named_where_values_do_not_fit() -> None:
    with pytest.raises(ModelError, match="--tokens N if it reads whole numbers"):
        census_of(FOREIGN["language"].build, (12,))


def test_a_model_in_double_precision_gets_doubles() -> None:
    found = census_of(lambda: nn.Linear(8, 2).double(), (8,))

    assert found.parameters.bytes == 8 * (16 + 2)
