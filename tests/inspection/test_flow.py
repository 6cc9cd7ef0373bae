from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.inspection.foreign import census_of
from torch import Tensor, nn

Forward = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """Four convolutions that keep the shape, put together as a test says."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.how = forward
        for name in "abcd":
            self.add_module(
                name, nn.Conv2d(3, 3, 1 if name == "d" else 3, padding=int(name != "d"))
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)


def projections(forward: Forward) -> list[str] | None:
    """Return the convolutions that are told as projections; None where none can be told."""
    found = census_of(lambda: Net(forward))
    if found.convolutions.projections is None:
        return None
    names = [layer.name for layer in found.layers if layer.is_projection]
    assert len(names) == found.convolutions.projections
    return names


PROJECTED: dict[str, Forward] = {
    "plus": lambda n, x: n.b(n.a(x)) + n.d(x),
    "the other way round": lambda n, x: n.d(x) + n.b(n.a(x)),
    "torch.add": lambda n, x: torch.add(n.b(n.a(x)), n.d(x)),
    "in place": lambda n, x: n.b(n.a(x)).add_(n.d(x)),
    "pooled first": lambda n, x: n.b(n.a(x)) + n.d(nn.functional.avg_pool2d(x, 3, 1, 1)),
    "scaled": lambda n, x: n.b(n.a(x)) * 0.5 + n.d(x).relu(),
    "behind another layer": lambda n, x: (lambda y: n.c(n.b(y)) + n.d(y))(n.a(x)),
    "one of three terms": lambda n, x: n.b(n.a(x)) + n.d(x) + x,
}


@pytest.mark.parametrize("forward", PROJECTED.values(), ids=PROJECTED)
def test_a_convolution_alone_on_one_side_of_an_addition_is_a_projection(forward: Forward) -> None:
    assert projections(forward) == ["d"]


NOT_PROJECTED: dict[str, Forward] = {
    "a chain": lambda n, x: n.d(n.c(n.b(n.a(x)))),
    "an identity shortcut": lambda n, x: n.b(n.a(x)) + x,
    "one on either side": lambda n, x: n.a(x) + n.d(x),
    "two on either side": lambda n, x: n.b(n.a(x)) + n.d(n.c(x)),
    "a product": lambda n, x: n.b(n.a(x)) * n.d(x),
    "side by side": lambda n, x: torch.cat([n.b(n.a(x)), n.d(x)], 1),
    "the same twice": lambda n, x: (lambda y: y + y)(n.d(n.b(n.a(x)))),
    "a constant added": lambda n, x: n.d(n.b(n.a(x))) + 1,
    "nothing in common": lambda n, x: n.b(n.a(x)) + n.d(torch.ones_like(x)),
}


@pytest.mark.parametrize("forward", NOT_PROJECTED.values(), ids=NOT_PROJECTED)
def test_no_other_shape_of_the_flow_is_a_projection(forward: Forward) -> None:
    assert projections(forward) == []


def test_a_convolution_that_is_a_projection_in_one_call_only_is_none() -> None:
    assert projections(lambda n, x: n.b(n.a(x)) + n.d(n.d(x))) == []
    assert projections(lambda n, x: n.d(n.b(n.a(x)) + n.d(x))) == []


def without_gradients(net: Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        x = net.a(x)
    return torch.as_tensor(net.b(x))


UNKNOWN: dict[str, Forward] = {
    "detached": lambda n, x: n.b(n.a(x).detach()) + n.d(x),
    "without gradients": without_gradients,
    "not in the output": lambda n, x: n.b(x) + 0 * n.a(x).numel(),
}


@pytest.mark.parametrize("forward", UNKNOWN.values(), ids=UNKNOWN)
def test_where_the_flow_cannot_be_followed_no_projection_is_told(forward: Forward) -> None:
    assert projections(forward) is None


def test_a_convolution_of_a_function_is_told_and_not_counted() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return (
            nn.functional.conv2d(net.b(net.a(x)), net.get_parameter("c.weight"))
            + net.d(x)[:, :, 1:-1, 1:-1]
        )

    found = census_of(lambda: Net(forward)).convolutions

    assert (found.total, found.uncalled, found.functions) == (4, 1, 1)
    assert found.projections is None


def test_a_model_that_changes_its_input_in_place_is_followed() -> None:
    assert projections(lambda n, x: n.b(n.a(x.sub_(0.5))) + n.d(x)) == ["d"]
