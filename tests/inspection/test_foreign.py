from __future__ import annotations

import pytest
from tests.inspection.foreign import FOREIGN, Known, census_of


@pytest.mark.parametrize("known", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_model_is_counted_as_by_hand(known: Known) -> None:
    found = census_of(known.build, known.input_shape, known.tokens)

    assert found.convolutions.total == known.convolutions
    assert found.convolutions.projections == known.projections
    assert found.convolutions.main_path == known.convolutions - known.projections
    assert found.parameters.trainable == known.parameters
    assert found.parameters.frozen == 0
    assert found.macs == known.macs
    assert found.flops == 2 * known.macs
    assert found.training_flops == 2 * (3 * known.macs - known.first + known.again)
    assert found.optimizers["sgd"].gradient_elements == known.parameters
    assert found.optimizers["sgd"].state_total == known.parameters


@pytest.mark.parametrize("known", FOREIGN.values(), ids=FOREIGN)
def test_the_arithmetic_of_the_layers_is_that_of_the_model(known: Known) -> None:
    layers = census_of(known.build, known.input_shape, known.tokens).layers

    assert layers[0].name == ""
    assert layers[0].macs == known.macs
    leaves = sum(layer.macs for layer in layers if layer.is_leaf)
    # Attention multiplies by itself, in no layer below it.
    assert leaves == known.macs or any(layer.kind == "MultiheadAttention" for layer in layers)


@pytest.mark.parametrize(
    ("name", "features", "last_map"),
    [
        ("bottleneck", (32, 10), (32, 32, 32)),
        ("lenet", (84, 10), None),
        ("dense", (20, 10), None),
        ("transformer", (32, 10), None),
        ("recurrent", (16, 10), None),
        ("language", (16, 50), None),
        ("u-net", (None, None), None),
    ],
)
def test_the_last_linear_layer_and_the_map_that_it_is_made_from(
    name: str, features: tuple[int | None, int | None], last_map: tuple[int, ...] | None
) -> None:
    known = FOREIGN[name]
    found = census_of(known.build, known.input_shape, known.tokens).linear

    assert (found.in_features, found.out_features) == features
    assert found.last_map == last_map
