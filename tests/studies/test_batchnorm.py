from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.studies.fakes import Notes
from tests.studies.trainings import Trainings, epoch, request_of, workshop_in

from laptime.errors import SettingsError
from laptime.settings import RunSettings, build_settings
from laptime.studies.batchnorm import norm_arms, plan_batchnorm, run_batchnorm
from laptime.studies.optimizers import run_optimizers
from laptime.studies.plan import varied
from laptime.studies.process import ArmEndedError
from laptime.studies.runner import open_workshop
from laptime.study import TurnPolicy
from laptime.study_store import StudyDirectory

# Data of a factory: whether they are the same need not be looked up.
BASE = build_settings({"device": "cpu", "num_workers": 0, "data": "own.py:build"})
SEEDS = (0, 1, 2, 3, 4)


def learned(name: str, seed: int, settings: RunSettings) -> Any:
    """Without batch norm runs guess, and one of five diverges."""
    if settings.model.norm == "batch":
        return epoch(1.5 + seed / 1000, 4500 + 10 * seed)
    return "diverged" if seed == 4 else epoch(2.304 + seed / 1000, 990 + seed)


def test_arms_differ_in_the_norm_and_in_nothing_else() -> None:
    arms = norm_arms(BASE)
    plan = plan_batchnorm(BASE, SEEDS, 5, TurnPolicy())

    assert [arm.settings.model.norm for arm in arms] == ["batch", "none"]
    assert len({varied(arm.settings, norm="batch") for arm in arms}) == 1
    assert (plan.baseline, plan.factors) == ("batch", ("norm",))
    assert [(arm.name, arm.again_of) for arm in plan.arms][-1] == ("batch again", "batch")


def test_a_model_of_ones_own_has_no_batch_norm_to_switch() -> None:
    with pytest.raises(SettingsError, match=r"batch norm can be switched in resnet18 only"):
        norm_arms(varied(BASE, model="own.py:build"))


def test_runs_without_batch_norm_are_judged_counted_and_explained(tmp_path: Path) -> None:
    request = request_of("batchnorm", BASE)

    record = run_batchnorm(workshop_in(tmp_path, request), request, train=Trainings(learned).train)

    (row,) = [row for row in record.comparisons if row.quantity == "accuracy"]
    assert (row.a, row.b, row.verdict) == ("batch", "none", "inconclusive")
    assert record.details["diverged"] == {"batch": 0, "none": 1}
    assert record.result("none").outcomes() == {"completed": 9, "diverged": 1}


def test_five_runs_that_end_at_chance_are_lower(tmp_path: Path) -> None:
    request = request_of("batchnorm", BASE, seeds=(0, 1, 2, 3, 5, 6))

    record = run_batchnorm(workshop_in(tmp_path, request), request, train=Trainings(learned).train)

    (row,) = [row for row in record.comparisons if row.quantity == "accuracy"]
    assert row.verdict == "higher"


def test_the_first_step_is_looked_at_in_a_fresh_process_each(tmp_path: Path) -> None:
    request = request_of("batchnorm", BASE, blocks=0)

    record = run_batchnorm(workshop_in(tmp_path, request), request, train=Trainings(learned).train)

    # What is no finite number has no place in a record.
    assert record.details["gradients"] == {
        "batch": [["conv1.weight", 1.0]], "none": [["conv1.weight", 1e-3]],
    }  # fmt: skip
    assert record.details["activations"]["none"] == [["conv1", 0.5]]
    json.dumps(record.document(), allow_nan=False)


def test_an_arm_that_ends_in_the_look_is_left_out_of_it(tmp_path: Path) -> None:
    request = request_of("batchnorm", BASE, blocks=0)
    ends = {"none": {"activations": ArmEndedError("failed", "no such layer")}}
    workshop = workshop_in(tmp_path, request, ends=ends)

    record = run_batchnorm(workshop, request, train=Trainings(learned).train)

    assert set(record.details["gradients"]) == {"batch", "none"}
    assert set(record.details["activations"]) == {"batch"}
    assert isinstance(workshop.listener, Notes)
    assert "The look at the first step of none ended: no such layer." in workshop.listener.warnings


def test_runs_of_the_study_of_optimizers_count_here_too(tmp_path: Path) -> None:
    request = request_of("optimizers", BASE, blocks=0)
    theirs = workshop_in(tmp_path, request)
    run_optimizers(theirs, request, train=Trainings(learned).train)
    own = Trainings(learned)
    request = request_of("batchnorm", BASE, blocks=0)
    ours = workshop_in(tmp_path, request)

    record = run_batchnorm(ours, request, reuse=theirs.directory, train=own.train)

    assert own.log == [("none", seed) for seed in SEEDS]
    batch = record.result("batch")
    assert {run.run for run in batch.trained} == {f"../{theirs.directory.id}/runs/sgd"}
    assert [run.last for run in batch.trained] == [
        run.last for run in theirs.directory.read_trained() if run.arm == "sgd"
    ]
    assert record.status == "completed"


@pytest.mark.slow
def test_a_tiny_study_reuses_real_runs_and_sees_real_gradients(tmp_path: Path) -> None:
    tiny = {"width": 1, "samples": 96, "batch_size": 16, "epochs": 1, "loader": "batch"}
    base = build_settings({**tiny, "num_workers": 0, "device": "cpu", "data": "synthetic"})
    policy = TurnPolicy(min_steps=2, min_s=0.0, min_turns=2, max_turns=2)
    given = {"seeds": (0,), "turns": policy}
    request = request_of("optimizers", base, optimizers=("sgd", "adam"), blocks=0, **given)
    theirs = workshop_in(tmp_path, request).directory
    run_optimizers(open_workshop(theirs, Notes()), request)
    request = request_of("batchnorm", base, blocks=1, **given)
    ours = workshop_in(tmp_path, request).directory

    record = run_batchnorm(open_workshop(ours, Notes()), request, reuse=theirs)
    ours.write_record(record)

    assert record.status == "completed"
    (reused,) = record.result("batch").trained
    assert reused.run is not None
    assert (ours.path / reused.run / "epochs.jsonl").is_file()
    assert len(list(StudyDirectory(ours.path).runs.iterdir())) == 1
    gradients = record.details["gradients"]
    assert len(gradients["batch"]) == len(gradients["none"]) == 21
    assert dict(gradients["none"])["conv1.weight"] < dict(gradients["batch"])["conv1.weight"]
