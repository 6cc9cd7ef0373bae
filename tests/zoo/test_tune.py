"""Scripts whose best setting is known, tuned unedited: run by make test-zoo, some minutes each."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from tests.zoo.harness import HERE, PYTHON, environment

pytestmark = [pytest.mark.zoo, pytest.mark.timeout(1800)]

SCRIPTS = HERE / "tunable"

BEST: dict[str, tuple[dict[str, set[Any]], str]] = {
    "sleeping": ({"num_workers": {4, 8}}, "num_workers,persistent_workers"),
    "reopening": ({"persistent_workers": {True}}, "persistent_workers,prefetch_factor,threads"),
    "confetti": ({"fused": {True}}, "fused,foreach,gc,threads"),
    "brief": (
        {"num_workers": {4, 8, 12}, "persistent_workers": {True}},
        "num_workers,persistent_workers",
    ),
    "convolutions": ({"channels_last": {True}}, "channels_last,fused,num_workers"),
}
"""Of each script the overrides that its gain must hold, and what is tried."""


BY_HAND = {
    "convolutions": (
        ("model(x)", "model(x.contiguous(memory_format=torch.channels_last))"),
        (
            "    optimizer =",
            "    model = model.to(memory_format=torch.channels_last)\n    optimizer =",
        ),
    )
}
"""What is told in words, because no diff of it is safe, as it is typed then."""


def tune(script: Path, runs: Path, only: str) -> dict[str, Any]:
    """Tune a script with a budget that is enough, and apply the diff that comes of it."""
    words = ["--json", "--apply", "--budget", "15m", "--only", only, "--runs-dir", str(runs)]
    done = subprocess.run(
        [sys.executable, "-m", "laptime", "tune", *words, "--", PYTHON, script.name],
        cwd=script.parent, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 3}, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    if "contaminated" in {refusal["code"] for refusal in document["refusals"]}:
        pytest.skip("other programs used the CPUs: nothing can be concluded")
    print(f"\n{script.stem}: {document['conclusion']}, {document['wall_s']:.0f} s")
    return document


def copied(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copy(SCRIPTS / f"{name}.py", tmp_path / f"{name}.py"))


def epochs_s(script: Path, epochs: int) -> list[float]:
    """Return what the script's own stopwatch says of its epochs, the first left out."""
    done = subprocess.run(
        [PYTHON, script.name, str(epochs)],
        cwd=script.parent, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [float(s) for s in re.findall(r"^epoch \d+ (\S+) s$", done.stdout, re.MULTILINE)][1:]


@pytest.mark.parametrize("name", BEST)
def test_the_best_setting_is_found_and_its_gain_is_the_scripts_own(
    name: str, tmp_path: Path
) -> None:
    script = copied(name, tmp_path)
    best, only = BEST[name]

    document = tune(script, tmp_path / "runs", only)

    assert document["conclusion"] == "gain"
    changes = dict(document["gain"]["changes"])
    assert {key: changes.get(key) in values for key, values in best.items()} == dict.fromkeys(
        best, True
    )
    assert document["applied"] == ([] if name in BY_HAND else [str(script)])
    original = copied(name, tmp_path / "runs")
    typed = script.read_text()
    for old, new in BY_HAND.get(name, ()):
        typed = typed.replace(old, new)
    script.write_text(typed)
    before_s, after_s = [], []
    for _ in range(3):  # in turns, as the machine drifts
        before_s += epochs_s(original, 4)
        after_s += epochs_s(script, 4)
    truth = fmean(after_s) / fmean(before_s)
    row = document["gain"]["row"]
    print(f"truth {truth:.3f}, found {row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")
    assert row["low"] - 0.05 <= truth <= row["high"] + 0.05


def test_on_a_script_with_nothing_to_gain_it_says_so_and_stops_early(tmp_path: Path) -> None:
    only = "num_workers,persistent_workers,threads,fused,channels_last"

    document = tune(copied("as_it_should_be", tmp_path), tmp_path / "runs", only)

    assert document["conclusion"] == "nothing to gain"
    assert document["wall_s"] < 180
    assert document["diff"] == ""


def test_a_fix_that_changes_what_is_trained_is_refused(tmp_path: Path) -> None:
    document = tune(copied("curriculum", tmp_path), tmp_path / "runs", "num_workers")

    outcomes = {row["name"]: row for row in document["tried"] if row["stage"] == "main"}
    assert {row["outcome"] for row in outcomes.values()} == {"refused"}
    assert all(row["losses"]["reason"] == "beyond_spread" for row in outcomes.values())
    assert document["conclusion"] == "nothing to gain"


def test_workers_that_repeat_a_stream_are_refused(tmp_path: Path) -> None:
    document = tune(copied("copies", tmp_path), tmp_path / "runs", "num_workers")

    why = {row["name"]: row["why"] for row in document["tried"]}
    assert "each worker repeats the whole dataset" in why["num_workers 2"]


def test_a_script_of_a_few_steps_is_run_from_first_to_last(tmp_path: Path) -> None:
    script = copied("confetti", tmp_path)
    words = ["--json", "--only", "fused", "--runs-dir", str(tmp_path / "runs")]
    done = subprocess.run(
        [sys.executable, "-m", "laptime", "tune", *words, "--", PYTHON, script.name, "1"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    document = json.loads(done.stdout)
    assert document["design"] == "sequential"
    assert document["pilot"]["total_steps"] == 100
