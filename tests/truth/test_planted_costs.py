"""Two clocks around the same planted costs, on this machine: run by make truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from laptime.studies.planted import Planted, compare, configurations, run_planted

ALL = tuple(configurations())


@pytest.fixture(scope="session", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Pay once for what torch loads late."""
    run_planted(Planted("sleeping"), tmp_path_factory.mktemp("warm-up") / "run")


def test_there_are_forty_configurations() -> None:
    assert len(ALL) == 40
    assert len({planted.name for planted in ALL}) == 40


@pytest.mark.truth
@pytest.mark.parametrize("planted", ALL, ids=lambda planted: planted.name)
def test_every_phase_is_found_within_2_ms_or_2_percent(planted: Planted, tmp_path: Path) -> None:
    found = compare(planted, tmp_path)

    for comparison in found:
        print(
            f"{comparison.phase.value:<10} truth {comparison.truth_ns / 1e6:9.2f} ms  "
            f"error {comparison.error_ns / 1e6:+7.2f} ms of {comparison.tolerance_ns / 1e6:.2f} ms"
        )
    assert all(comparison.holds for comparison in found)
