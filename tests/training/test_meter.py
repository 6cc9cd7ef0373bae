from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laptime.record import StepRecord
from laptime.training.meter import Meter, finite
from laptime.training.step import StepResult


def result(loss: float, correct: int = 0, samples: int = 16) -> StepResult:
    return StepResult(torch.tensor(loss), torch.tensor(correct), samples)


batches = st.lists(
    st.tuples(st.floats(0, 100, width=32), st.integers(1, 65_536)), min_size=1, max_size=20
)


@given(batches, st.integers(1, 7))
def test_the_loss_is_the_mean_over_samples_however_they_are_batched_and_flushed(
    given_batches: list[tuple[float, int]], every: int
) -> None:
    meter = Meter(1)
    for number, (loss, samples) in enumerate(given_batches, 1):
        meter.add(result(loss, samples=samples))
        if number % every == 0:
            meter.flush()
    meter.flush()

    total = sum(samples for _, samples in given_batches)
    exact = sum(Fraction(loss) * samples for loss, samples in given_batches) / total
    assert meter.loss == pytest.approx(float(exact), rel=1e-12, abs=1e-300)
    assert meter.samples == total


def test_a_short_last_batch_weighs_what_it_holds() -> None:
    meter = Meter(1)
    meter.add(result(1.0, correct=8, samples=16))
    meter.add(result(9.0, correct=1, samples=2))
    meter.flush()

    assert meter.loss == pytest.approx((16 * 1.0 + 2 * 9.0) / 18, abs=1e-12)
    assert meter.accuracy == pytest.approx(9 / 18, abs=1e-12)


class Counted(Tensor):
    """A tensor that counts how often its value is asked for: each is a wait for the device."""

    crossings = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func in {Tensor.tolist, Tensor.item, Tensor.__float__, Tensor.__int__, Tensor.__bool__}:
            cls.crossings += 1
        return super().__torch_function__(func, types, args, kwargs or {})


def test_values_cross_once_a_flush_and_never_a_step() -> None:
    Counted.crossings = 0
    meter = Meter(1)

    for _ in range(10):
        loss = torch.tensor(1.0).as_subclass(Counted)
        meter.add(StepResult(loss, torch.tensor(3).as_subclass(Counted), 16))
    assert Counted.crossings == 0

    meter.flush()

    assert Counted.crossings == 2  # one list of losses, one of counts


def test_a_flush_returns_the_rows_of_the_steps_since_the_last_one() -> None:
    meter = Meter(3)
    meter.add(result(0.5, correct=1))
    assert [row.step for row in meter.flush()] == [1]
    meter.add(result(0.25, correct=2))
    meter.add(result(0.75, correct=3, samples=4))

    assert meter.flush() == [
        StepRecord(epoch=3, step=2, loss=0.25, correct=2, samples=16),
        StepRecord(epoch=3, step=3, loss=0.75, correct=3, samples=4),
    ]
    assert meter.flush() == []


def test_nothing_is_known_before_the_first_flush() -> None:
    meter = Meter(1)
    meter.add(result(1.0))

    assert (meter.loss, meter.accuracy, meter.steps) == (None, 0.0, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_loss_that_is_not_finite_is_remembered(bad: float) -> None:
    meter = Meter(1)
    for loss in (1.0, bad, 1.0, bad):
        meter.add(result(loss))

    rows = meter.flush()

    assert [row.loss for row in rows] == [1.0, None, 1.0, None]
    assert meter.diverged_at == 2
    assert meter.loss is None


def test_a_meter_goes_on_from_the_sums_of_a_checkpoint() -> None:
    whole, first = Meter(1), Meter(1)
    losses = [0.1, 0.7, 0.3, 0.9]
    for loss in losses:
        whole.add(result(loss, correct=2))
        whole.flush()
    for loss in losses[:2]:
        first.add(result(loss, correct=2))
    first.flush()

    second = Meter(1, first.steps, first.samples, first.correct, first.loss_sum)
    for loss in losses[2:]:
        second.add(result(loss, correct=2))

    assert [row.step for row in second.flush()] == [3, 4]
    assert (second.loss, second.correct, second.samples) == (whole.loss, 8, 64)


def test_a_loss_in_bf16_is_read_as_it_is() -> None:
    meter = Meter(1)
    meter.add(StepResult(torch.tensor(0.5, dtype=torch.bfloat16), torch.tensor(1), 2))

    assert meter.flush()[0].loss == 0.5


def test_a_loss_in_double_precision_keeps_its_digits() -> None:
    meter = Meter(1)
    meter.add(StepResult(torch.tensor(0.1, dtype=torch.float64), torch.tensor(1), 2))

    assert meter.flush()[0].loss == 0.1


def test_finite_keeps_numbers_and_drops_what_json_has_no_word_for() -> None:
    assert finite(-0.5) == -0.5
    assert finite(math.nan) is None
    assert finite(math.inf) is None
