from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.studies.fakes import Notes

from laptime.record import RunRecord
from laptime.settings import RunSettings
from laptime.studies import lab
from laptime.studies.lab import (
    LabRequest,
    lab_settings,
    reductions,
    run_lab,
    study_request,
    unfit_reasons,
)
from laptime.studies.plan import make_plan
from laptime.studies.scale import QUICK
from laptime.study import Arm, StudyRecord, StudyRequest
from laptime.training.listener import Silence
from laptime.training.loop import train


def record_of(request: StudyRequest, **details: Any) -> StudyRecord:
    arm = Arm(name="x", settings=request.settings)
    plan = make_plan(request.study, [arm], "x", (), blocks=0)
    return StudyRecord(
        id="x", directory="x", plan=plan, status="completed", arms=(), details=details
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the studies by fakes that remember what they were asked."""
    seen: dict[str, Any] = {}

    def fake(study: str, **details: Any) -> Any:
        def run(shop: Any, request: StudyRequest, **more: Any) -> StudyRecord:
            seen[study] = request, more, shop
            return record_of(request, **details)

        return run

    monkeypatch.setattr(lab, "run_workers", fake("workers", recommended={"num_workers": 3}))
    for study in ("devices", "optimizers", "batchnorm"):
        monkeypatch.setattr(lab, f"run_{study}", fake(study))
    return seen


def first_record(tiny: Any, tmp_path: Path) -> RunRecord:
    return train(tiny(), tmp_path, Silence())


def test_full_scale_is_the_assignment() -> None:
    assert lab_settings("full", {}) == RunSettings()
    assert reductions(RunSettings()) == []


def test_quick_scale_says_everything_that_it_reduced() -> None:
    quick = lab_settings("quick", {"epochs": 2})
    changed = {name for name, value in quick.flat().items() if value != RunSettings().flat()[name]}

    assert changed == {*QUICK, "epochs"}
    assert len(reductions(quick)) == len(changed)


def test_the_parts_come_in_order(tiny: Any, tmp_path: Path, asked: dict[str, Any]) -> None:
    request = LabRequest(tiny(), "quick", tmp_path)

    sections = list(run_lab(request, Silence(), Notes()))

    assert [section.part for section in sections] == ["C1, C2", "C3, C4", "C5", "C6", "C7"]
    assert list(asked) == ["workers", "devices", "optimizers", "batchnorm"]


def test_what_c3_recommends_is_used_by_all_later_parts(
    tiny: Any, tmp_path: Path, asked: dict[str, Any]
) -> None:
    list(run_lab(LabRequest(tiny(), "quick", tmp_path), Silence(), Notes()))

    later = [asked[s][0].settings.loader.num_workers for s in ("devices", "optimizers")]
    assert later == [3, 3]
    assert asked["workers"][0].settings == tiny()


def test_c7_counts_the_runs_of_c6(tiny: Any, tmp_path: Path, asked: dict[str, Any]) -> None:
    list(run_lab(LabRequest(tiny(), "quick", tmp_path, seeds=2), Silence(), Notes()))

    reused = asked["batchnorm"][1]["reuse"]
    assert reused.path == asked["optimizers"][2].directory.path
    assert asked["batchnorm"][0].seeds == asked["optimizers"][0].seeds == (0, 1)


def test_full_scale_sweeps_what_the_assignment_names(tmp_path: Path) -> None:
    request = LabRequest(RunSettings(), "full", tmp_path)

    grid = study_request(request, "workers", RunSettings()).grid

    assert grid is not None
    assert {0, 4, 8, 12, 16} <= set(grid)


def test_quick_scale_predicts_the_assigned_model(tiny: Any, tmp_path: Path) -> None:
    quick = lab_settings("quick", {})
    request = study_request(LabRequest(quick, "quick", tmp_path), "workers", quick)

    assert request.full == RunSettings()


def test_the_embedded_set_is_never_fit_to_hand_in(tiny: Any, tmp_path: Path) -> None:
    record = first_record(tiny, tmp_path)

    assert record.status == "completed"
    assert "data is embedded set, not CIFAR-10" in unfit_reasons(RunSettings(), record)


def test_real_data_at_full_scale_is_fit(tiny: Any, tmp_path: Path) -> None:
    record = first_record(tiny, tmp_path)
    whole = {"name": "cifar10", "train_samples": 50_000}
    record = record.model_copy(update={"data": record.data.model_copy(update=whole)})

    assert unfit_reasons(RunSettings(), record) == []
    assert unfit_reasons(RunSettings(), record.model_copy(update={"status": "diverged"}))


def test_a_copy_with_fewer_images_is_not_fit(tiny: Any, tmp_path: Path) -> None:
    record = first_record(tiny, tmp_path)
    data = record.data.model_copy(update={"name": "cifar10", "train_samples": 5085})

    (reason,) = unfit_reasons(RunSettings(), record.model_copy(update={"data": data}))
    assert "5,085 training images instead of 50,000" in reason
