from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from laptime.data.batches import Batch
from laptime.phase import Phase
from laptime.settings import TrainingSettings
from laptime.training.step import (
    Mover,
    TrainStep,
    autocast,
    evaluate,
    num_correct,
    set_arithmetic,
)

CPU = torch.device("cpu")


class Told:
    """Hear of phases, and of what happens in between."""

    def __init__(self) -> None:
        self.heard: list[Phase | str] = []

    def enter(self, phase: Phase) -> Phase:
        self.heard.append(phase)
        return Phase.OTHER


def batch(size: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 12, generator=generator), torch.arange(size) % 3


def telling_step(told: Told, device: str) -> TrainStep:
    """Return a step whose parts say when they run."""
    model = nn.Linear(12, 3, device=device)
    model.register_forward_hook(lambda *_: told.heard.append("model"))
    model.weight.register_hook(lambda _: told.heard.append("gradient"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: told.heard.append("update"))

    class TellingMover(Mover):
        def __call__(self, given: Batch) -> Batch:
            told.heard.append("move")
            return super().__call__(given)

    mover = TellingMover(torch.device(device), channels_last=False)
    return TrainStep(model, optimizer, mover, "float32")


def test_the_phases_of_a_step_on_a_cpu_have_no_transfer() -> None:
    told = Told()

    telling_step(told, "cpu")(batch(), told.enter)

    assert told.heard == [
        Phase.FORWARD,
        "move",
        "model",
        Phase.BACKWARD,
        "gradient",
        Phase.OPTIMIZER,
        "update",
        Phase.OTHER,
    ]


def test_on_another_device_the_move_is_a_phase_of_its_own() -> None:
    told = Told()

    telling_step(told, "meta")(batch(), told.enter)

    assert told.heard == [
        Phase.TRANSFER,
        "move",
        Phase.FORWARD,
        "model",
        Phase.BACKWARD,
        "gradient",
        Phase.OPTIMIZER,
        "update",
        Phase.OTHER,
    ]


def test_a_step_updates_once_and_leaves_no_gradient() -> None:
    torch.manual_seed(0)
    model = nn.Linear(12, 3)
    expected = nn.Linear(12, 3)
    expected.load_state_dict(model.state_dict())
    step = TrainStep(
        model,
        torch.optim.SGD(model.parameters(), lr=0.5),
        Mover(CPU, channels_last=False),
        "float32",
    )
    inputs, labels = batch()

    result = step((inputs, labels), Told().enter)

    logits = expected(inputs)
    loss = functional.cross_entropy(logits, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter, twin in zip(model.parameters(), expected.parameters(), strict=True):
        assert twin.grad is not None
        assert torch.equal(parameter, twin - 0.5 * twin.grad)
        assert parameter.grad is None
    assert result.loss.item() == loss.item()
    assert not result.loss.requires_grad
    assert int(result.correct) == int((logits.argmax(1) == labels).sum())
    assert result.samples == 8


def test_a_model_that_raises_leaves_the_phase_it_was_in() -> None:
    told = Told()
    step = telling_step(told, "cpu")

    with pytest.raises(RuntimeError):
        step((torch.zeros(2, 5), torch.zeros(2, dtype=torch.long)), told.enter)

    assert told.heard == [Phase.FORWARD, "move"]


class Recorded(nn.Module):
    """A model that gives what it is told and says in which mode it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bool, bool]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked.append((self.training, torch.is_grad_enabled()))
        return x


def test_an_evaluation_weighs_every_sample_alike() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(21, 5, generator=generator)
    labels = torch.arange(21) % 5
    batches = list(zip(logits.split(8), labels.split(8), strict=True))
    assert len(batches[-1][1]) == 5

    loss, correct, samples = evaluate(
        Recorded(), batches, Mover(CPU, channels_last=False), "float32"
    )

    assert loss == pytest.approx(functional.cross_entropy(logits.double(), labels).item(), abs=1e-6)
    assert (correct, samples) == (int((logits.argmax(1) == labels).sum()), 21)


def test_an_evaluation_runs_in_evaluation_mode_without_gradients_and_returns_to_training() -> None:
    model = Recorded().train()

    evaluate(model, [batch()], Mover(CPU, channels_last=False), "float32")

    assert model.asked == [(False, False)]
    assert model.training
    assert torch.is_grad_enabled()


def test_a_loss_that_is_not_a_number_stays_one() -> None:
    inputs = torch.full((2, 3), torch.nan)

    loss, _, _ = evaluate(
        Recorded(),
        [(inputs, torch.zeros(2, dtype=torch.long))],
        Mover(CPU, channels_last=False),
        "",
    )

    assert math.isnan(loss)


def test_answers_are_right_where_the_largest_logit_is_the_labels() -> None:
    logits = torch.tensor([[1.0, 2.0], [2.0, 1.0], [0.0, 5.0]], requires_grad=True)

    correct = num_correct(logits, torch.tensor([1, 1, 1]))

    assert int(correct) == 2
    assert not correct.requires_grad


def test_images_are_laid_out_as_the_model_is_and_other_inputs_stay_as_they_are() -> None:
    images, flat = torch.rand(2, 3, 4, 4), torch.rand(2, 3)
    labels = torch.zeros(2, dtype=torch.long)
    last, first = Mover(CPU, channels_last=True), Mover(CPU, channels_last=False)

    assert last((images, labels))[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last((images, labels))[0], images)
    assert first((images, labels))[0] is images
    assert last((flat, labels))[0] is flat


def test_bf16_changes_the_arithmetic_of_the_forward_pass_and_float32_does_not() -> None:
    x = torch.rand(4, 4)
    with autocast(CPU, "bf16"):
        assert (x @ x).dtype is torch.bfloat16
    with autocast(CPU, "float32"):
        assert (x @ x).dtype is torch.float32


def test_a_step_in_bf16_keeps_its_weights_in_float32() -> None:
    model = nn.Linear(12, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = TrainStep(model, optimizer, Mover(CPU, channels_last=False), "bf16")

    result = step(batch(), Told().enter)

    assert torch.isfinite(result.loss)
    assert model.weight.dtype is torch.float32


@pytest.fixture
def _arithmetic_is_put_back() -> Any:
    yield
    set_arithmetic(TrainingSettings())


@pytest.mark.usefixtures("_arithmetic_is_put_back")
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(("precision", "matmul"), [("tf32", "high"), ("float32", "highest")])
def test_the_switches_of_torch_follow_the_settings(
    precision: Any, matmul: str, deterministic: bool
) -> None:
    set_arithmetic(TrainingSettings(precision=precision, deterministic=deterministic))

    assert torch.get_float32_matmul_precision() == matmul
    assert torch.backends.cudnn.allow_tf32 is (precision == "tf32")
    assert torch.are_deterministic_algorithms_enabled() is deterministic
    assert torch.backends.cudnn.deterministic is deterministic
