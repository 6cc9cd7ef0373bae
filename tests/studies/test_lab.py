from __future__ import annotations

from pathlib import Path
from typing import Any

from laptime.settings import RunSettings
from laptime.studies.lab import lab_settings, reductions, run_lab, unfit_reasons
from laptime.training.listener import Silence


def test_full_scale_is_the_assignment() -> None:
    assert lab_settings("full", {}) == RunSettings()
    assert reductions(RunSettings()) == []


def test_quick_scale_says_everything_that_it_reduced() -> None:
    quick = lab_settings("quick", {"epochs": 2})
    changed = {name for name, value in quick.flat().items() if value != RunSettings().flat()[name]}

    assert changed == {"width", "samples", "epochs"}
    assert len(reductions(quick)) == len(changed)


def test_the_embedded_set_is_never_fit_to_hand_in(tiny: Any, tmp_path: Path) -> None:
    settings = tiny()
    (section,) = run_lab(settings, tmp_path, Silence())

    assert section.record.status == "completed"
    assert "data is embedded set, not CIFAR-10" in unfit_reasons(RunSettings(), section.record)


def test_real_data_at_full_scale_is_fit(tiny: Any, tmp_path: Path) -> None:
    (section,) = run_lab(tiny(), tmp_path, Silence())
    whole = {"name": "cifar10", "train_samples": 50_000}
    data = section.record.data.model_copy(update=whole)
    record = section.record.model_copy(update={"data": data})

    assert unfit_reasons(RunSettings(), record) == []
    assert unfit_reasons(RunSettings(), record.model_copy(update={"status": "diverged"}))


def test_a_copy_with_fewer_images_is_not_fit(tiny: Any, tmp_path: Path) -> None:
    (section,) = run_lab(tiny(), tmp_path, Silence())
    data = section.record.data.model_copy(update={"name": "cifar10", "train_samples": 5085})
    record = section.record.model_copy(update={"data": data})

    (reason,) = unfit_reasons(RunSettings(), record)
    assert "5,085 training images instead of 50,000" in reason
