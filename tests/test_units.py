from __future__ import annotations

import pytest

from laptime import units


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (0.0804, "80 ms"),
        (0.4, "0.4 s"),
        (9.96, "10 s"),
        (38.4, "38 s"),
        (59.7, "1 min 00 s"),
        (250, "4 min 10 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_read_as_people_say_them(value_s: float, text: str) -> None:
    assert units.render_duration(value_s) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.37, "37 %"), (0.0042, "0.42 %"), (0.00001, "under 0.01 %"), (1, "100 %")],
)
def test_small_shares_keep_their_first_digit(share: float, text: str) -> None:
    assert units.render_share(share) == text


def test_nanoseconds_and_seconds_are_each_others_inverse() -> None:
    assert units.nanoseconds(units.seconds(1_234_567_891)) == 1_234_567_891


@pytest.mark.parametrize(
    ("size", "text"),
    [(10, "10 B"), (1500, "1.5 kB"), (170_052_171, "170 MB"), (25_300_000_000, "25.3 GB")],
)
def test_sizes_are_decimal(size: int, text: str) -> None:
    assert units.render_bytes(size) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (40.2134, 39.71, 40.72, "40.2 [39.7, 40.7]"),
        (38.44, 38.3101, 38.5699, "38.44 [38.31, 38.57]"),
        (0.91234, 0.909, 0.9151, "0.912 [0.909, 0.915]"),
        (1234, 811, 1609, "1200 [800, 1600]"),
        (40, -81, 162, "40 [-80, 160]"),
        (0.001, -0.04, 0.04, "0.00 [-0.04, 0.04]"),
        (5, 5, 5, "5.000 [5.000, 5.000]"),
        (12.3456, None, None, "12.3"),
        (1234.5, None, None, "1230"),
        (0, None, None, "0.00"),
        (float("nan"), None, None, "nan"),
    ],
)
def test_an_estimate_has_the_digits_that_its_interval_supports(
    value: float, low: float | None, high: float | None, text: str
) -> None:
    assert units.render_estimate(value, low, high) == text


def test_an_interval_alone_has_the_digits_that_it_supports() -> None:
    assert units.render_interval(39.71, 40.72) == "[39.7, 40.7]"
    assert units.render_interval(39.71, 40.72, 0) == "[40, 41]"


def test_fractions_and_ratios_are_printed_as_per_cent() -> None:
    assert units.render_estimate_percent(0.91234, 0.909, 0.9151) == "91.2 % [90.9, 91.5]"
    assert units.render_estimate_percent(0.5, None, None) == "50.0 %"
    assert units.render_change(1.0891, 1.0808, 1.0974) == "+8.9 % [+8.1, +9.7]"
    assert units.render_change(0.9, 0.85, 0.95) == "-10 % [-15, -5]"
    assert units.render_change(1.001, 0.96, 1.041) == "0 % [-4, +4]"
    assert units.render_change(0.9, None, None) == "-10.0 %"


def test_a_positive_estimate_keeps_its_first_digit_however_wide_its_interval() -> None:
    assert units.render_estimate(0.8, 0.0001, 5200.0) == "0.8 [0.0, 5200.0]"
    assert units.render_estimate(8.1, 0.1, 650.0) == "8 [0, 650]"
