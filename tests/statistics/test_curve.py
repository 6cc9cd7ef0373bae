from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laptime.statistics.curve import CurveFit, fit_curve

WORKERS = (0, 1, 2, 4, 8, 16)


def points(truth: CurveFit) -> list[float]:
    return [truth.step_s(w) for w in WORKERS]


@pytest.mark.parametrize(
    "truth",
    [
        CurveFit(0.05, 0.4, 0.0, 0),
        CurveFit(0.05, 0.4, 0.004, 0),
        CurveFit(1.0, 0.2, 0.07, 0),
        CurveFit(0.001, 0.3, 0.0005, 0),
    ],
)
def test_a_curve_of_the_model_is_found_again(truth: CurveFit) -> None:
    found = fit_curve(WORKERS, points(truth))

    assert found is not None
    assert found.residual < 0.01
    assert points(found) == pytest.approx(points(truth), rel=0.02)


def test_noise_shows_in_the_residual() -> None:
    truth = CurveFit(0.2, 0.4, 0.001, 0)
    noisy = [s * math.exp(0.05 * (-1) ** i) for i, s in enumerate(points(truth))]
    found = fit_curve(WORKERS, noisy)

    assert found is not None
    assert 0.01 < found.residual < 0.06
    assert found.compute_s == pytest.approx(0.2, rel=0.1)


def test_a_loader_in_the_training_process_overlaps_with_nothing() -> None:
    fit = CurveFit(compute_s=1.0, load_s=2.0, overhead_s=0.1, residual=0)

    assert fit.step_s(0) == 3.0
    assert fit.step_s(1) == pytest.approx(2.1)
    assert fit.step_s(4) == 1.0


def test_a_flat_curve_is_all_computing() -> None:
    found = fit_curve(WORKERS, [0.2] * 6)

    assert found is not None
    assert found.compute_s == pytest.approx(0.2, rel=0.01)
    assert found.load_s == pytest.approx(0, abs=0.01)


def test_fewer_than_three_numbers_of_workers_are_no_curve() -> None:
    assert fit_curve([0, 1], [1.0, 1.0]) is None
    assert fit_curve([0, 1, 1, 0], [1.0] * 4) is None
    assert fit_curve([0, 1, 2, 4], [1.0, 1.0, math.nan, 0.0]) is None


@settings(max_examples=15, deadline=None)
@given(
    st.floats(1e-3, 10), st.floats(1e-3, 10), st.floats(0, 0.5), st.sampled_from([1e-3, 1.0, 1e4])
)
def test_another_unit_of_time_gives_the_same_curve(
    compute: float, load: float, overhead: float, unit: float
) -> None:
    seconds = points(CurveFit(compute, load, overhead, 0))
    one, other = fit_curve(WORKERS, seconds), fit_curve(WORKERS, [unit * s for s in seconds])

    assert one is not None
    assert other is not None
    assert points(other) == pytest.approx([unit * s for s in points(one)], rel=0.02)
    assert min(one.compute_s, one.load_s, one.overhead_s) >= 0
