from __future__ import annotations

from pathlib import Path

import pytest

from laptime.errors import SettingsError, StoreError
from laptime.replicate import Aside, Block, FirstStep, Replicate
from laptime.settings import RunSettings, build_settings
from laptime.studies.plan import make_plan
from laptime.study import Arm, Plan, StudyRequest
from laptime.study_store import (
    StudyDirectory,
    create_study,
    find_study,
    list_studies,
)


def plan_of(*names: str, **more: object) -> Plan:
    arms = [Arm(name=name, settings=RunSettings()) for name in names]
    return make_plan("workers", arms, names[0], ("num_workers",), **more)  # type: ignore[arg-type]


@pytest.fixture
def study(tmp_path: Path) -> StudyDirectory:
    return create_study(tmp_path, StudyRequest(study="workers", settings=RunSettings()))


def block(number: int) -> Block:
    replicate = Replicate(arm="a", block=number, status="completed")
    return Block(block=number, started="now", wall_ns=1, replicates=(replicate,))


def test_what_was_asked_for_is_there_before_anything_else(study: StudyDirectory) -> None:
    assert study.read_request() == StudyRequest(study="workers", settings=RunSettings())
    assert not study.has_plan()


def test_a_plan_is_read_as_it_was_written(study: StudyDirectory) -> None:
    plan = plan_of("a", "b")

    study.write_plan(plan)

    assert study.read_plan() == plan


def test_the_same_plan_may_be_written_again(study: StudyDirectory) -> None:
    study.write_plan(plan_of("a", "b"))
    study.write_plan(plan_of("a", "b"))


@pytest.mark.parametrize("other", [plan_of("a", "c"), plan_of("a", "b", blocks=6), plan_of("a")])
def test_another_plan_is_refused(study: StudyDirectory, other: Plan) -> None:
    study.write_plan(plan_of("a", "b"))

    with pytest.raises(SettingsError, match=r"has another plan \("):
        study.write_plan(other)


def test_stages_have_plans_of_their_own(study: StudyDirectory) -> None:
    study.write_plan(plan_of("a", "b"))
    study.write_plan(plan_of("a", "c"), "confirmation")

    assert study.read_plan("confirmation").arms[1].name == "c"


def test_a_block_torn_by_a_crash_is_not_there_and_harms_no_other(study: StudyDirectory) -> None:
    study.append_block(block(1))
    with study.blocks.open("a") as file:
        file.write('{"block": 2, "sta')

    assert [b.block for b in study.read_blocks()] == [1]
    study.append_block(block(2))
    assert [b.block for b in study.read_blocks()] == [1, 2]


def test_a_damaged_line_is_named(study: StudyDirectory) -> None:
    study.blocks.write_text("{}\n")

    with pytest.raises(StoreError, match=r"damaged in line 1"):
        study.read_blocks()


def test_what_is_kept_aside_is_read_as_it_was_written(study: StudyDirectory) -> None:
    look = FirstStep(gradients={"batch": (("conv1", 0.1),)}, activations={})

    study.write_aside("first_step", look)
    study.write_aside("full_step_s", 1 / 3)

    assert study.read_aside() == Aside(first_step=look, full_step_s=1 / 3)


def test_nothing_found_is_told_from_what_was_not_looked_for(study: StudyDirectory) -> None:
    before = study.read_aside()
    study.write_aside("missing_device", None)

    assert not before.knows("missing_device")
    assert study.read_aside().knows("missing_device")
    assert not study.read_aside().knows("full_step_s")


def test_a_value_that_does_not_fit_is_not_written(study: StudyDirectory) -> None:
    study.write_aside("usable_cpus", 2)

    with pytest.raises(StoreError, match="full_step_s: Input should be a finite number"):
        study.write_aside("full_step_s", float("nan"))
    assert study.read_aside() == Aside(usable_cpus=2)


def test_a_plan_of_a_later_version_is_refused(study: StudyDirectory) -> None:
    study.write_plan(plan_of("a", "b").model_copy(update={"schema_number": 99}))

    with pytest.raises(StoreError, match="later version"):
        study.read_plan()


def test_studies_are_found_by_kind_name_and_end(study: StudyDirectory, tmp_path: Path) -> None:
    assert find_study(tmp_path, None).id == study.id
    assert find_study(tmp_path, study.id[-6:], "workers").id == study.id
    assert find_study(tmp_path, str(study.path)).id == study.id
    with pytest.raises(StoreError, match="holds no study"):
        find_study(tmp_path, None, "devices")
    with pytest.raises(StoreError, match="names no study"):
        find_study(tmp_path, "nothing")


def test_a_run_is_no_study(study: StudyDirectory, tmp_path: Path) -> None:
    (tmp_path / "2026-01-01_run").mkdir()

    assert [found.id for found in list_studies(tmp_path)] == [study.id]


def test_settings_of_arms_survive_the_disk(study: StudyDirectory) -> None:
    settings = build_settings({"num_workers": 7, "lr": 0.25, "persistent_workers": True})
    arms = [Arm(name="x", settings=settings)]
    study.write_plan(make_plan("workers", arms, "x", ()))

    assert study.read_plan().arm("x").settings == settings
