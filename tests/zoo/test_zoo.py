"""Scripts as people write them, with and without laptime: run by make test-zoo."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.zoo.catalog import SCRIPTS, Script
from tests.zoo.harness import (
    HERE,
    PYTHON,
    Comparison,
    Ran,
    compare,
    execute,
    execute_under_laptime,
    importable,
    read_truth,
    told,
)

from laptime.report.scripts.findings import findings
from laptime.script_store import ScriptDirectory

pytestmark = [pytest.mark.zoo, pytest.mark.timeout(900)]

FOLDER = HERE / "scripts"
CODES = {
    "loading": "loader_bound",
    "start_up": "start_up_bound",
    **{
        phase: f"{phase}_bound"
        for phase in ("forward", "backward", "optimizer", "evaluation", "checkpoint", "other")
    },
}
"""What a finding is called where a script's truth names a bottleneck."""

LINES = {
    "loading": r"DataLoader\(",
    "start_up": r"DataLoader\(",
    "forward": r"\w\((\w|\))",
    "backward": r"backward\(",
    "optimizer": r"step\(",
    "evaluation": r"for .* in ",
    "checkpoint": r"save\(",
    "other": r"step\(",
}
"""What the line says that a finding is about."""


@dataclass(frozen=True)
class Runs:
    """One script without laptime, under it, and under it without its cost."""

    script: Script
    plain: Ran
    costly: Ran
    control: Ran


def run_under_laptime(script: Script, runs: Path, cost: str) -> Ran:
    command = [PYTHON, *script.command]
    return execute_under_laptime(
        command, FOLDER, runs, options=("--quiet",), variables={"ZOO_COST": cost}
    )


@pytest.fixture(scope="module")
def plain(request: pytest.FixtureRequest) -> dict[Script, Ran]:
    """Run all scripts of these tests without laptime: nothing is timed, so two at a time."""
    asked = [getattr(item, "callspec", None) for item in request.session.items]
    scripts = {spec.params["runs"] for spec in asked if spec and "runs" in spec.params}
    able = [script for script in SCRIPTS if script in scripts and importable(script.needs)]

    def run(script: Script) -> Ran:
        return execute([PYTHON, *script.command], FOLDER, variables={"ZOO_COST": "0"})

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(able, pool.map(run, able), strict=True))


@pytest.fixture(scope="module", params=SCRIPTS, ids=lambda script: script.name)
def runs(
    request: pytest.FixtureRequest,
    plain: dict[Script, Ran],
    tmp_path_factory: pytest.TempPathFactory,
) -> Runs:
    """Run a script with and without its cost, one after the other: they are timed."""
    script = request.param
    if script not in plain:
        pytest.skip(f"{PYTHON} has no {', '.join(script.needs)}")
    path = tmp_path_factory.mktemp(script.name)
    return Runs(
        script,
        plain[script],
        run_under_laptime(script, path / "costly", "1"),
        run_under_laptime(script, path / "control", "0"),
    )


def test_status_and_output_are_those_of_the_script_alone(runs: Runs) -> None:
    for ran in (runs.costly, runs.control):
        assert ran.status == runs.plain.status == 0
        assert told(ran) == told(runs.plain)
        assert ran.stderr == runs.plain.stderr


def test_steps_and_epochs_are_those_that_the_script_counted(runs: Runs) -> None:
    for ran in (runs.costly, runs.control):
        truth, recorder, epochs = (
            read_truth(ran),
            ran.read("recorder.json"),
            ran.read("epochs.jsonl"),
        )
        assert [epoch["epoch"] for epoch in epochs] == list(range(1, truth.epochs + 1))
        assert sum(epoch["steps"] for epoch in epochs) == truth.steps
        assert (recorder["steps"], recorder["epochs"]) == (truth.steps, truth.epochs)
        assert len(ran.read("steps.jsonl")) == truth.steps


def test_samples_and_losses_are_those_that_the_script_saw(runs: Runs) -> None:
    truth, epochs = read_truth(runs.costly), runs.costly.read("epochs.jsonl")

    if truth.samples is not None:
        assert sum(epoch["samples"] for epoch in epochs) == truth.samples
    if truth.loss is not None:
        assert epochs[-1]["loss"] == pytest.approx(truth.loss, rel=1e-6)


def test_the_phases_of_an_epoch_sum_to_its_wall_time(runs: Runs) -> None:
    for epoch in runs.costly.read("epochs.jsonl"):
        assert sum(epoch["phases_ns"].values()) == epoch["wall_ns"]


def test_a_boundary_that_cannot_be_found_is_named(runs: Runs) -> None:
    missing = [row["boundary"] for row in runs.costly.read("recorder.json")["missing"]]

    assert sorted(missing) == sorted(runs.script.missing)


def test_every_planted_cost_is_found_within_2_ms_a_step_or_3_percent(
    runs: Runs, tmp_path: Path
) -> None:
    for comparisons in _twice(runs, tmp_path):
        shown = [c for c in comparisons if c.truth_s or not c.holds]
        print(f"\n{runs.script.name}", *shown, sep="\n  ")
        if all(comparison.holds for comparison in comparisons):
            return
    pytest.fail("out of tolerance twice")


def _twice(runs: Runs, path: Path) -> Iterator[list[Comparison]]:
    """Compare; then once more with fresh runs, for the machine may have been busy."""
    yield compare(runs.costly, runs.control)
    yield compare(
        run_under_laptime(runs.script, path / "costly", "1"),
        run_under_laptime(runs.script, path / "control", "0"),
    )


def test_the_finding_names_the_bottleneck_and_its_line_or_none_where_there_is_none(
    runs: Runs,
) -> None:
    assert runs.costly.directory is not None
    found = findings(ScriptDirectory(runs.costly.directory).read_record())
    limit = next(f for f in found if f.code.endswith("_bound") or f.code == "no_clear_limit")
    bottleneck = read_truth(runs.costly).bottleneck
    print(f"\n{runs.script.name}: {bottleneck}: {limit.code} at {limit.where}: {limit.sentence}")

    if bottleneck == "ambiguous":
        assert limit.code == "no_clear_limit"
    else:
        assert limit.code == CODES[bottleneck]
        assert re.search(LINES[bottleneck], line_of(limit.where))


def line_of(where: str) -> str:
    """Return the line of a script that a finding is about: ``train.py:42 DataLoader(...)``."""
    name, number = where.split(" ")[0].split(":")
    path = next(path for path in FOLDER.rglob(name))
    return path.read_text().splitlines()[int(number) - 1]
