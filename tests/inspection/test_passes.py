from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tests.inspection.foreign import FOREIGN, Bottleneck, InvertedResidual, census_of
from torch import Tensor, nn

from laptime.census import SampleRecord
from laptime.errors import ModelError
from laptime.inspection.passes import loss_of, train_once, train_twice
from laptime.settings import OptimizerSettings

IMAGE = SampleRecord(shape=(3, 8, 8))


class Frozen(nn.Module):
    """A body that is not trained, and a head that is."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
        self.body.requires_grad_(requires_grad=False)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x).mean((2, 3)))


def test_a_frozen_parameter_has_neither_gradient_nor_state_and_takes_no_backward() -> None:
    found = census_of(Frozen)

    assert (found.parameters.trainable, found.parameters.frozen) == (4 * 2 + 2, 4 * 27 + 4)
    assert found.parameters.tensors == 2
    assert found.optimizers["sgd"].gradient_elements == 10
    assert found.optimizers["sgd"].state_total == 10
    body, head = 6 * 6 * 27 * 4, 4 * 2
    assert found.macs == body + head
    assert found.training_flops == 2 * (body + 2 * head)
    assert (found.convolutions.total, found.convolutions.projections) == (1, 0)


def test_a_parameter_that_no_output_uses_has_no_gradient() -> None:
    class Unused(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 2)
            self.spare = nn.Conv2d(3, 4, 1)

    found = census_of(Unused, (8,))

    assert (found.parameters.trainable, found.parameters.tensors) == (18 + 16, 4)
    assert (found.passes[-1].gradient_elements, found.passes[-1].gradient_tensors) == (18, 2)
    assert (found.convolutions.total, found.convolutions.uncalled) == (1, 1)
    assert found.convolutions.main_path == 0


def test_batch_norm_on_maps_of_one_place_gets_two_samples_and_three() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4, 2)
    )

    assert [it.samples for it in train_twice(model, IMAGE)] == [2, 3]


def test_a_model_that_only_fails_in_training_is_refused_with_that_word() -> None:
    class Untrainable(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise NotImplementedError
            return super().forward(x)

    with pytest.raises(ModelError, match="in training mode: NotImplementedError"):
        census_of(lambda: Untrainable(8, 2), (8,))


@dataclass
class Answer:
    """What some models return."""

    logits: Tensor
    text: str = "a"


def test_every_tensor_that_is_returned_takes_part_in_the_loss() -> None:
    a, b = (torch.ones(3, 1, requires_grad=True) for _ in range(2))

    loss_of({"x": [Answer(a)], "y": (None, b), "z": 3}).backward()  # type: ignore[no-untyped-call]

    assert a.grad is not None
    assert b.grad is not None


def test_logits_are_scored_by_cross_entropy_and_a_single_output_by_its_square() -> None:
    even = torch.zeros(2, 4, requires_grad=True)
    single = torch.full((2, 1), 3.0, requires_grad=True)

    assert loss_of(even).item() == pytest.approx(1.3863, abs=1e-4)
    assert loss_of(single).item() == pytest.approx(9)


@pytest.mark.parametrize("returned", [None, "text", torch.ones(2), [torch.arange(3)], Answer])
def test_a_model_without_a_gradient_is_refused(returned: object) -> None:
    with pytest.raises(ModelError, match="no tensor that depends on a trainable parameter"):
        loss_of(returned)


def test_what_is_kept_for_backward_is_counted_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2))

    found = train_once(model, IMAGE, samples=1)

    # The output of the ReLU, which both its own backward and the linear layer's need, and the
    # log-probabilities of the loss. The input is counted apart; labels and weights are no values.
    relu, loss = 4 * 8 * 8 * 4, 2 * 4
    assert relu + loss <= found.saved_bytes <= relu + loss + 64
    assert found.input_bytes == 3 * 8 * 8 * 4


def test_buffers_and_parameters_are_not_kept_for_backward() -> None:
    few, many = train_twice(Bottleneck(), IMAGE)

    # Each sample keeps as much as the other; what batch norm keeps of a batch is small.
    assert many.saved_bytes == pytest.approx(2 * few.saved_bytes, rel=0.02)


def test_the_gradients_of_a_grouped_convolution_are_not_counted_for_all_channels() -> None:
    few, _ = train_twice(InvertedResidual(), SampleRecord(shape=(3, 32, 32)))

    known = FOREIGN["inverted residual"]
    assert few.macs == 3 * known.macs - known.first


def test_sparse_gradients_count_what_they_store_and_an_optimizer_may_refuse_them() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Embedding(50, 16, sparse=True), nn.Linear(16, 50))

    plain = {"sgd without momentum": OptimizerSettings(momentum=0.0, weight_decay=0.0)}
    found = census_of(build, (3,), tokens=50, optimizers=plain)

    linear = 16 * 50 + 50
    assert found.parameters.trainable == 50 * 16 + linear
    assert linear < found.passes[-1].gradient_elements <= linear + 2 * 3 * 16
    with pytest.raises(ModelError, match=r"^adam cannot step this model: .* Leave it out"):
        census_of(build, (3,), 50, {"adam": OptimizerSettings(optimizer="adam")})
