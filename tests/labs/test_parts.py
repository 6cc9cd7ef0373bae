from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.studies.fakes import Calm, Notes, inspection

from laptime.cli.lab import parse_parts
from laptime.errors import DeviceError, LaptimeError, SettingsError, StoreError
from laptime.files import locked
from laptime.lab import (
    QUESTIONS,
    STUDIES,
    LabPart,
    LabRecord,
    LabRequest,
    fit_reasons,
    reductions,
    unfit_reasons,
)
from laptime.lab_store import LabDirectory, create_lab
from laptime.labs import parts as lab
from laptime.labs.contents import run_of
from laptime.labs.parts import Watch, read_lab, run_lab
from laptime.labs.price import limit_s
from laptime.labs.requests import lab_settings, study_request
from laptime.record import EpochRecord, RunRecord
from laptime.replicate import Replicate
from laptime.settings import OptimizerSettings, RunSettings
from laptime.store import RunDirectory
from laptime.studies.plan import make_plan
from laptime.studies.price import Pilot
from laptime.studies.runner import Workshop
from laptime.studies.scale import QUICK
from laptime.study import Arm, ArmResult, Estimate, StudyRecord, StudyRequest
from laptime.study_store import StudyDirectory
from laptime.timing.clock import read_ns
from laptime.training.listener import Silence
from laptime.training.loop import train

PILOT = Pilot(2.0, 0.2, 0.5, 0.025, 0.004)
ALL = list(QUESTIONS)
SECOND = Estimate(estimate=1.0, low=None, high=None, n=1)


def record_of(request: StudyRequest, **details: Any) -> StudyRecord:
    arm = Arm(name="x", settings=request.settings)
    plan = make_plan(request.study, [arm], "x", (), blocks=request.blocks)
    result = ArmResult(name="x", settings=request.settings, epoch_s=SECOND)
    return StudyRecord(
        id="x", directory="x", plan=plan, status="completed", arms=(result,), blocks=request.blocks,
        details=details,
    )  # fmt: skip


Ending = BaseException | Callable[[StudyRecord], StudyRecord]


@dataclass
class Studies:
    """Studies that measure nothing, remember what they were asked, and end as they are told."""

    ends: dict[str, list[Ending]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    asked: dict[str, tuple[StudyRequest, dict[str, Any], Workshop]] = field(default_factory=dict)
    done: dict[Path, StudyRecord] = field(default_factory=dict)
    recommended: int | None = 3

    def run(self, study: str) -> Callable[..., StudyRecord]:
        def run(shop: Workshop, request: StudyRequest, **more: Any) -> StudyRecord:
            self.log.append(study)
            self.asked[study] = request, more, shop
            ends = self.ends.get(study, [])
            end = ends.pop(0) if ends else None
            if isinstance(end, BaseException):
                raise end
            best = None if self.recommended is None else {"num_workers": self.recommended}
            record = record_of(request, recommended=best)
            shop.directory.write_plan(record.plan)
            record = end(record) if end else record
            if record.status == "completed":
                self.done[shop.directory.path] = record
            return record

        return run

    def workers_of(self, study: str) -> int:
        return self.asked[study][0].settings.loader.num_workers


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> Studies:
    """Replace the studies, the first look and the counting of the model by fakes."""
    made = Studies()

    def shop(directory: StudyDirectory, listener: Notes, budget_s: float | None) -> Workshop:
        return Workshop(directory, listener, Calm(), lambda arm: None, read_ns(), budget_s)  # type: ignore[arg-type, return-value]

    for study in STUDIES.values():
        monkeypatch.setattr(lab, f"run_{study}", made.run(study))
    monkeypatch.setattr(lab, "finished_study", lambda found: made.done.get(found.path))
    monkeypatch.setattr(lab, "reread_study", lambda found: made.done[found.path])
    monkeypatch.setattr(lab, "keep_record", lambda directory, record: None)
    monkeypatch.setattr(lab, "open_workshop", shop)
    monkeypatch.setattr(lab, "inspect_assigned", lambda settings: inspection())
    monkeypatch.setattr(lab, "devices_here", lambda settings: ("cpu",))
    monkeypatch.setattr(lab, "look", lambda *given: PILOT)
    return made


class Shown:
    """A listener of a lab that remembers."""

    def __init__(self) -> None:
        self.records: list[LabRecord] = []
        self.started: list[str] = []
        self.ended: list[LabPart] = []

    def planned(self, record: LabRecord) -> None:
        self.records.append(record)

    def part_started(self, part: LabPart) -> None:
        self.started.append(part.part)

    def part_ended(self, part: LabPart, finding: Any) -> None:
        self.ended.append(part)


def go(directory: LabDirectory, run: Any = None) -> tuple[bool, Shown, Notes]:
    shown, notes = Shown(), Notes()
    return run_lab(directory, Watch(shown, run or Silence(), notes)), shown, notes


@pytest.fixture
def make(tiny: Any, tmp_path: Path) -> Callable[..., LabDirectory]:
    """Return a function that makes a lab whose run takes a moment."""

    def create(only: str = "", **given: Any) -> LabDirectory:
        settings = tiny(samples=32, epochs=given.pop("epochs", 1), num_workers=2)
        parts = parse_parts(only) if only else ()
        request = LabRequest(settings=settings, scale="quick", only=parts, **given)
        return create_lab(tmp_path, request, "laptime lab")

    return create


def statuses(directory: LabDirectory) -> dict[str, str]:
    return {part.part: part.status for part in directory.read_record().parts}


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


def test_the_parts_come_in_order_and_all_is_in_one_folder(make: Any, studies: Studies) -> None:
    directory = make()

    is_done, shown, _ = go(directory)

    assert is_done
    assert shown.started == [part.part for part in shown.ended] == ALL
    assert studies.log == list(STUDIES.values())
    record = directory.read_record()
    assert set(statuses(directory).values()) == {"completed"}
    assert all((directory.path / (part.path or "")).exists() for part in record.parts)
    assert record.wall_s >= sum(part.wall_s for part in record.parts) > 0


def test_only_what_is_asked_for_is_done(make: Any, studies: Studies) -> None:
    directory = make("c7, Q3,C5")

    go(directory)

    assert studies.log == ["devices", "batchnorm"]
    assert list(statuses(directory)) == ["C5", "C7", "Q1 to Q4"]
    assert run_of(directory) is None


def test_what_c3_recommends_is_used_by_all_later_parts(make: Any, studies: Studies) -> None:
    _, _, notes = go(make())

    assert studies.workers_of("workers") == 2
    assert [studies.workers_of(s) for s in ("devices", "optimizers", "batchnorm")] == [3, 3, 3]
    assert notes.warnings == []


def test_without_c3_the_settings_decide_and_it_is_said(make: Any, studies: Studies) -> None:
    _, _, notes = go(make("C5"))

    assert studies.workers_of("devices") == 2
    assert notes.warnings == [
        "C5 is done with 2 loader workers, as the settings say: C3 was left out."
    ]


def test_where_c3_recommends_nothing_the_settings_decide(make: Any, studies: Studies) -> None:
    studies.recommended = None

    _, _, notes = go(make("C3,C5"))

    assert studies.workers_of("devices") == 2
    assert "C3 recommends no number" in notes.warnings[0]


def test_c7_counts_the_runs_of_c6(make: Any, studies: Studies) -> None:
    go(make("C6,C7", seeds=2))

    reused = studies.asked["batchnorm"][1]["reuse"]
    assert reused.path == studies.asked["optimizers"][2].directory.path
    assert studies.asked["batchnorm"][0].seeds == studies.asked["optimizers"][0].seeds == (0, 1)


def test_c7_has_runs_of_its_own_where_c6_was_left_out_or_refused(
    make: Any, studies: Studies
) -> None:
    go(make("C7"))
    assert studies.asked["batchnorm"][1]["reuse"] is None

    studies.ends["optimizers"] = [DeviceError("No device.")]
    go(make("C6,C7"))
    assert studies.asked["batchnorm"][1]["reuse"] is None


@pytest.mark.parametrize("study", list(STUDIES.values()))
def test_a_lab_that_was_stopped_goes_on_where_it_was(
    study: str, make: Any, studies: Studies
) -> None:
    directory = make()
    studies.ends[study] = [KeyboardInterrupt()]
    at = list(STUDIES.values()).index(study) + 1

    is_done, _, _ = go(directory)

    assert not is_done
    found = statuses(directory)
    assert [found[part] for part in ALL[:at]] == ["completed"] * at
    assert found[ALL[at]] == "interrupted"
    assert {found[part] for part in ALL[at + 1 :]} <= {"not_begun"}

    path = studies.asked[study][2].directory.path
    is_done, shown, _ = go(directory)

    assert is_done
    assert shown.started == ALL[at:]
    assert studies.asked[study][2].directory.path == path
    assert sorted(studies.log) == sorted([*STUDIES.values(), study])
    assert set(statuses(directory).values()) == {"completed"}
    assert len(list(directory.runs.iterdir())) == 5


def test_a_lab_that_is_complete_does_nothing_again(make: Any, studies: Studies) -> None:
    directory = make()
    go(directory)
    before = directory.read_record().parts

    is_done, shown, _ = go(directory)

    assert is_done
    assert shown.started == []
    assert len(studies.log) == 4
    assert directory.read_record().parts == before


class Stopper(Silence):
    """Stops a run at the end of its first epoch."""

    def epoch_ended(self, record: EpochRecord) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_run_that_was_stopped_goes_on(has_checkpoint: bool, make: Any, studies: Studies) -> None:
    directory = make("C1,Q1", epochs=2)

    is_done, shown, _ = go(directory, Stopper())

    assert not is_done
    assert shown.ended[0].status == "interrupted"
    assert shown.started == ["C1, C2"]
    run = run_of(directory)
    assert run is not None
    if not has_checkpoint:
        for path in run.checkpoints.iterdir():
            path.unlink()

    is_done, _, _ = go(directory)

    record = run.read_record()
    assert is_done
    assert (record.status, len(record.epochs), record.resumed) == ("completed", 2, 1)
    assert directory.read_record().part("C1, C2").path == f"runs/{run.id}"


def test_the_checkpoints_of_a_complete_run_are_no_part_of_the_folder(
    make: Any, studies: Studies
) -> None:
    directory = make("C1")

    go(directory)

    run = run_of(directory)
    assert run is not None
    assert list(run.checkpoints.iterdir()) == []


def test_a_run_that_diverged_is_not_trained_again(
    make: Any, studies: Studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make("C1,Q1")
    go(directory)
    run = run_of(directory)
    assert run is not None
    gone = {"status": "diverged", "reason": "the loss is not finite"}
    run.write_status(run.read_status().model_copy(update=gone))
    record = directory.read_record()
    failed = record.part("C1, C2").model_copy(update={"status": "failed"})
    directory.write_record(record.model_copy(update={"parts": (failed, record.parts[1])}))
    monkeypatch.setattr("laptime.training.loop.resume", None)

    _, shown, _ = go(directory)

    assert shown.started == ["C1, C2"]
    assert shown.ended[0].reason == "the run is diverged: the loss is not finite"


@pytest.mark.parametrize("study", list(STUDIES.values()))
def test_a_part_that_fails_keeps_its_reason_and_the_next_begins(
    study: str, make: Any, studies: Studies
) -> None:
    directory = make()
    studies.ends[study] = [DeviceError("The device is gone. Use --device cpu.")]

    is_done, _, _ = go(directory)

    part = next(part for part, name in STUDIES.items() if name == study)
    record = directory.read_record()
    assert is_done
    assert record.part(part).status == "failed"
    assert record.part(part).reason == "The device is gone. Use --device cpu."
    assert record.part(part).path is None
    assert [p.part for p in record.missing()] == [part]
    assert (
        f"{part} is failed (The device is gone. Use --device cpu.)"
        in read_lab(directory).fit_reasons
    )

    go(directory)

    assert directory.read_record().status == "completed"
    assert studies.log.count(study) == 2
    assert len(studies.log) == 5


def test_a_study_all_of_whose_arms_ended_early_has_failed(make: Any, studies: Studies) -> None:
    def lost(record: StudyRecord) -> StudyRecord:
        ended = Replicate(arm="x", block=1, status="out_of_memory", reason="no memory")
        arm = record.arms[0].model_copy(update={"epoch_s": None, "replicates": (ended, ended)})
        return record.model_copy(update={"arms": (arm,)})

    directory = make("C6,Q1")
    studies.ends["optimizers"] = [lost]

    go(directory)

    part = directory.read_record().part("C6")
    assert (part.status, part.reason) == ("failed", "x out of memory 2x")
    assert statuses(directory)["Q1 to Q4"] == "completed"


def test_a_study_is_given_time_once_and_as_much_as_it_takes_when_resumed(
    make: Any, studies: Studies
) -> None:
    def cut(record: StudyRecord) -> StudyRecord:
        return record.model_copy(update={"status": "interrupted", "blocks": 3})

    directory = make("C5")
    studies.ends["devices"] = [cut]

    is_done, _, _ = go(directory)

    part = directory.read_record().part("C5")
    assert is_done
    assert (part.status, part.reason) == ("interrupted", "its time was up: 3 of 5 blocks")
    assert part.most_s is not None
    assert studies.asked["devices"][2].budget_s == pytest.approx(limit_s(part.most_s))

    go(directory)

    assert studies.asked["devices"][2].budget_s is None
    assert statuses(directory) == {"C5": "completed"}


def test_blocks_that_a_limit_left_out_are_said(make: Any, studies: Studies) -> None:
    def narrowed(record: StudyRecord) -> StudyRecord:
        return record.model_copy(update={"plan": record.plan.model_copy(update={"blocks": 4})})

    directory = make("C5")
    studies.ends["devices"] = [narrowed]

    go(directory)

    part = directory.read_record().part("C5")
    assert (part.status, part.reason) == ("completed", "its time allowed 4 of 5 blocks")


def test_how_long_it_takes_is_known_before_the_first_part(make: Any, studies: Studies) -> None:
    _, shown, _ = go(make())

    (record,) = shown.records
    expected = [part.expected_s for part in record.parts]
    assert {part.status for part in record.parts} == {"not_begun"}
    assert all(expected)
    assert record.expected_s == pytest.approx(sum(s for s in expected if s))


def test_without_an_answer_of_the_first_look_nothing_is_limited(
    make: Any, studies: Studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "look", lambda *given: None)
    directory = make("C5,Q1")

    go(directory)

    record = directory.read_record()
    assert (record.part("C5").expected_s, record.expected_s) == (None, None)
    assert studies.asked["devices"][2].budget_s is None
    assert record.status == "completed"


def test_to_count_the_model_needs_no_look_at_the_training(
    make: Any, studies: Studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "look", None)
    directory = make("Q1")

    assert go(directory)[0]
    assert directory.read_inspection() == inspection()


def test_what_the_first_look_refuses_ends_the_lab_before_anything_has_begun(
    make: Any, studies: Studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> None:
        raise SettingsError("data is 'x', which is not there.")

    monkeypatch.setattr(lab, "look", refuse)
    directory = make()

    with pytest.raises(LaptimeError, match="is not there"):
        go(directory)
    assert directory.is_untouched()


def test_two_processes_do_not_do_one_lab(make: Any, studies: Studies) -> None:
    directory = make()

    with locked(directory.path), pytest.raises(StoreError, match="by another process"):
        go(directory)


def test_what_its_process_left_without_a_word_goes_on(make: Any, studies: Studies) -> None:
    directory = make("C5,C6")
    record = directory.read_record()
    killed = record.parts[0].model_copy(update={"status": "running"})
    directory.write_record(record.model_copy(update={"parts": (killed, record.parts[1])}))

    assert read_lab(directory).record.part("C5").status == "interrupted"
    go(directory)
    assert set(statuses(directory).values()) == {"completed"}


def test_the_assigned_model_is_counted_whatever_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def count(settings: RunSettings, optimizers: dict[str, OptimizerSettings]) -> Any:
        seen.update(settings=settings, optimizers=optimizers)
        return inspection()

    monkeypatch.setattr("laptime.inspection.inspect.inspect", count)

    lab.inspect_assigned(lab_settings("quick", {"device": "cpu", "seed": 4, "epochs": 1}))

    flat = seen["settings"].flat()
    assert flat == {**RunSettings().flat(), "device": "cpu", "seed": 4}
    assert {"sgd", "nesterov", "adagrad", "adadelta", "adam"} <= set(seen["optimizers"])
    assert {given.lr for given in seen["optimizers"].values()} == {0.1}


def test_a_lab_is_read_as_it_was_left(make: Any, studies: Studies) -> None:
    directory = make("C1,C5,Q1")
    go(directory)

    findings = read_lab(directory)

    assert findings.run is not None
    assert findings.run.status == "completed"
    assert list(findings.studies) == ["devices"]
    assert findings.inspection == inspection()
    assert findings.of("C5") is findings.studies["devices"]
    assert findings.of("C7") is None
    assert "C7 left out" in findings.fit_reasons


def test_a_study_without_a_plan_is_passed_over_when_a_lab_is_read(
    make: Any, studies: Studies
) -> None:
    directory = make("C5")
    studies.ends["devices"] = [KeyboardInterrupt()]
    go(directory)

    findings = read_lab(directory)

    assert findings.studies == {}
    assert "C5 is interrupted (stopped from outside)" in findings.fit_reasons


def test_a_lab_is_read_without_torch() -> None:
    code = (
        "import sys, laptime.labs.parts, laptime.labs.handin, laptime.cli.lab\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_full_scale_sweeps_what_the_assignment_names() -> None:
    request = LabRequest(settings=RunSettings(), scale="full")

    grid = study_request(request, "workers", RunSettings()).grid

    assert grid is not None
    assert {0, 4, 8, 12, 16} <= set(grid)


def test_quick_scale_predicts_the_assigned_model() -> None:
    quick = lab_settings("quick", {})

    asked = study_request(LabRequest(settings=quick, scale="quick"), "workers", quick)

    assert asked.full == RunSettings()


def test_the_embedded_set_is_never_fit_to_hand_in(tiny: Any, tmp_path: Path) -> None:
    record = first_record(tiny, tmp_path)

    assert record.status == "completed"
    assert "data is embedded set, not CIFAR-10" in unfit_reasons(RunSettings(), record)


def test_real_data_at_full_scale_is_fit_when_every_part_is_there(
    tiny: Any, tmp_path: Path, studies: Studies
) -> None:
    record = first_record(tiny, tmp_path)
    whole = {"name": "cifar10", "train_samples": 50_000}
    record = record.model_copy(update={"data": record.data.model_copy(update=whole)})
    request = LabRequest(settings=RunSettings(), scale="full")
    asked = create_lab(tmp_path, request, "laptime lab").read_record()
    done = tuple(part.model_copy(update={"status": "completed"}) for part in asked.parts)

    assert unfit_reasons(RunSettings(), record) == []
    assert unfit_reasons(RunSettings(), record.model_copy(update={"status": "diverged"}))
    assert fit_reasons(asked.model_copy(update={"parts": done}), record) == ()
    assert fit_reasons(asked, record)[-1] == "Q1 to Q4 is not begun"


def test_a_copy_with_fewer_images_is_not_fit(tiny: Any, tmp_path: Path) -> None:
    record = first_record(tiny, tmp_path)
    data = record.data.model_copy(update={"name": "cifar10", "train_samples": 5085})

    (reason,) = unfit_reasons(RunSettings(), record.model_copy(update={"data": data}))
    assert "5,085 training images instead of 50,000" in reason


def test_the_file_of_a_lab_says_what_a_reader_looks_for(make: Any, studies: Studies) -> None:
    directory = make("C5")
    go(directory)

    document = json.loads((directory.path / "lab.json").read_text())

    assert document["request"]["scale"] == "quick"
    assert document["command"] == "laptime lab"
    (part,) = document["parts"]
    assert part["status"] == "completed"
    assert part["path"].startswith("runs/")
    assert RunDirectory(directory.path / part["path"]).path.is_dir()
