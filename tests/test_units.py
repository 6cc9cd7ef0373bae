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
