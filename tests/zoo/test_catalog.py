from __future__ import annotations

from pathlib import Path

import pytest
from tests.zoo.catalog import SCRIPTS
from tests.zoo.harness import HERE, Ran, compare, read_truth

from laptime.phase import Phase

SHARED = {"planted", "__init__", "data", "model"}
SOURCES = sorted((HERE / "scripts").rglob("*.py"))


def test_every_script_is_in_the_catalog() -> None:
    files = {path.stem for path in SOURCES} - SHARED

    assert len(SCRIPTS) == len({script.name for script in SCRIPTS}) >= 18
    assert files == {Path(s.command[-1].rpartition("pkg.")[2]).stem for s in SCRIPTS}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_script_knows_of_laptime(path: Path) -> None:
    assert "laptime" not in path.read_text().lower()


def ran(path: Path, waited_ns: int, planted_s: float) -> Ran:
    """Return what a script of ten steps leaves that waited so long, and says so much of it."""
    path.mkdir()
    phases = ", ".join(f'"{p.value}": {waited_ns * (p is Phase.DATA_WAIT)}' for p in Phase)
    (path / "epochs.jsonl").write_text(f'{{"phases_ns": {{{phases}}}}}\n')
    planted = f'{{"data_wait": {planted_s}}}'
    counts = '"steps": 10, "epochs": 1, "samples": null, "loss": null'
    truth = f'{{{counts}, "bottleneck": "loading", "planted_s": {planted}}}'
    return Ran(0, f"loss 1\nTRUTH {truth}\n", "", path)


def test_a_phase_is_compared_less_what_it_takes_without_its_cost(tmp_path: Path) -> None:
    costly, control = ran(tmp_path / "1", 700_000_000, 0.5), ran(tmp_path / "0", 190_000_000, 0.0)
    waiting, other = (
        next(c for c in compare(costly, control) if c.phase is phase)
        for phase in (Phase.DATA_WAIT, Phase.OTHER)
    )

    assert read_truth(costly).bottleneck == "loading"
    assert waiting.error_s == pytest.approx(0.01)
    assert waiting.tolerance_s == pytest.approx(0.021)
    assert waiting.holds
    assert other.holds


def test_a_cost_that_is_charged_elsewhere_does_not_hold(tmp_path: Path) -> None:
    costly, control = ran(tmp_path / "1", 700_000_000, 0.5), ran(tmp_path / "0", 300_000_000, 0.0)

    assert not next(c for c in compare(costly, control) if c.phase is Phase.DATA_WAIT).holds
