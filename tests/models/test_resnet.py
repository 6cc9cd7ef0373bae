from __future__ import annotations

import pytest
import torch
from torch import nn

from laptime.models.catalog import num_parameters
from laptime.models.resnet import Norm, ResNet18


@pytest.mark.parametrize(("norm", "parameters"), [("batch", 11_173_962), ("none", 11_164_362)])
def test_parameters_are_those_of_the_literature(norm: Norm, parameters: int) -> None:
    model = ResNet18(10, 64, norm)

    assert num_parameters(model) == parameters
    assert len(list(model.parameters())) == (62 if norm == "batch" else 22)


def test_there_are_seventeen_convolutions_on_the_main_path_and_three_projections() -> None:
    kernels = [
        m.kernel_size for m in ResNet18(10, 64, "batch").modules() if isinstance(m, nn.Conv2d)
    ]

    assert kernels.count((3, 3)) == 17
    assert kernels.count((1, 1)) == 3
    assert len(kernels) == 20


def test_no_convolution_has_a_bias() -> None:
    assert all(
        m.bias is None for m in ResNet18(10, 64, "batch").modules() if isinstance(m, nn.Conv2d)
    )


def test_the_last_linear_layer_takes_512_and_the_last_group_gives_512_by_4_by_4() -> None:
    model = ResNet18(10, 64, "batch").eval()
    shapes: list[torch.Size] = []
    model.group4.register_forward_hook(lambda _module, _inputs, out: shapes.append(out.shape))

    logits = model(torch.zeros(1, 3, 32, 32))

    assert model.linear.in_features == 512
    assert tuple(shapes[0]) == (1, 512, 4, 4)
    assert tuple(logits.shape) == (1, 10)


def test_one_image_takes_about_half_a_billion_multiply_adds() -> None:
    model = ResNet18(10, 64, "batch").eval()
    macs = 0

    def count(module: nn.Conv2d, _: object, out: torch.Tensor) -> None:
        nonlocal macs
        macs += out.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    model(torch.zeros(1, 3, 32, 32))

    assert macs / 1e9 == pytest.approx(0.56, abs=0.01)
