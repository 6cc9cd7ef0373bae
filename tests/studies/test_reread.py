from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.studies import test_workers as workers
from tests.studies.fakes import ENVIRONMENT, FakeMachine, Notes
from tests.studies.trainings import Trainings, epoch, request_of, workshop_in

from laptime.errors import StoreError
from laptime.record import DataRecord, EnvironmentRecord
from laptime.replicate import TrainedReplicate
from laptime.report.studies.study import render_study
from laptime.settings import RunSettings, build_settings
from laptime.store import RunDirectory, StatusRecord
from laptime.studies import catalog
from laptime.studies.batchnorm import run_batchnorm
from laptime.studies.devices import run_devices
from laptime.studies.optimizers import run_optimizers
from laptime.studies.process import ArmEndedError
from laptime.studies.reread import finished_study, reread_study
from laptime.studies.runner import Workshop
from laptime.studies.workers import run_workers
from laptime.study import Plan, StudyRecord, StudyRequest
from laptime.study_store import StudyDirectory, create_study

# Data of a factory: whether they are the same need not be looked up.
BASE = build_settings({"device": "cpu", "num_workers": 0, "data": "own.py:build"})
GPU = {"environment": {**ENVIRONMENT, "device": "cuda:0"}}
SEEDS = (0, 1, 2)


def directory_of(record: StudyRecord) -> StudyDirectory:
    return StudyDirectory(Path(record.directory))


def no_start(*given: Any) -> Any:
    raise AssertionError("a process was started")


def idle(directory: StudyDirectory) -> Workshop:
    """Return a workshop in which nothing can be measured."""
    return replace(workshop_in(directory.path), start_arm=no_start)


def learned(name: str, seed: int, settings: RunSettings) -> Any:
    """One of the rates is best for each; adam diverges at one of them."""
    optimizer, lr = settings.optimizer.optimizer, settings.optimizer.lr
    if (optimizer, lr) == ("adam", 1.0) or (settings.model.norm == "none" and seed == 1):
        return "diverged"
    correct = 5000 if lr == 0.01 else 2000
    held = {"test_loss": 1.0, "test_correct": correct, "test_samples": 10_000}
    return epoch(1.0, correct + 20 * seed, **(held if settings.data.holdout else {}))


def ordered(workshop: Workshop, plan: Plan, **given: Any) -> list[TrainedReplicate]:
    return Trainings(learned).train(workshop, plan)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the whole runs of a worker study be no processes."""
    monkeypatch.setattr("laptime.studies.workers.run_trainings", ordered)


def workers_study(path: Path, **given: Any) -> StudyRecord:
    full = build_settings({})
    asked = workers.request(**{"grid": (0, 2, 4, 8), "table_epochs": 2, "full": full, **given})
    return workers.run(path, asked)


def climbing_study(path: Path) -> StudyRecord:
    return workers_study(path, grid=None, full=None, table_epochs=0)


def devices_study(path: Path, devices: tuple[str, ...] = ("cpu", "cuda")) -> StudyRecord:
    request = request_of("devices", BASE, seeds=())
    workshop = workshop_in(path, request, facts={"cuda": GPU, "cuda again": GPU})
    return run_devices(workshop, request, find=lambda asked: devices)


def lone_device_study(path: Path) -> StudyRecord:
    return devices_study(path, ("cpu",))


def optimizers_study(path: Path, **given: Any) -> StudyRecord:
    values = {"optimizers": ("sgd", "adam"), "seeds": SEEDS, "blocks": 2, "tune_lr": True}
    request = request_of("optimizers", BASE, **{**values, **given})
    return run_optimizers(workshop_in(path, request), request, train=ordered)


def untimed_study(path: Path) -> StudyRecord:
    return optimizers_study(path, blocks=0, tune_lr=False)


def batchnorm_study(path: Path) -> StudyRecord:
    request = request_of("batchnorm", BASE, seeds=SEEDS, blocks=2)
    return run_batchnorm(workshop_in(path, request), request, train=ordered)


def adopting_study(path: Path) -> StudyRecord:
    """Run a study of batch norm that counts runs of another study as its own."""
    theirs = directory_of(untimed_study(path))
    leave_run(theirs.runs / "sgd")
    request = request_of("batchnorm", BASE, seeds=SEEDS, blocks=0)
    return run_batchnorm(workshop_in(path, request), request, reuse=theirs, train=ordered)


def leave_run(path: Path) -> None:
    """Write what a training run leaves behind."""
    path.mkdir(parents=True)
    data = DataRecord(
        name="own", source="own.py:build", verified=False, label="your own", sha256=None,
        train_samples=10_000, test_samples=0, num_classes=7,
    )  # fmt: skip
    run = RunDirectory(path)
    run.write_start(BASE, EnvironmentRecord(**{**ENVIRONMENT, "cpu": "theirs"}), data)
    run.write_status(StatusRecord(status="completed", host="h", process=1, process_started_s=0))


Study = Callable[[Path], StudyRecord]

STUDIES: list[Study] = [
    workers_study, climbing_study, devices_study, lone_device_study, optimizers_study,
    untimed_study, batchnorm_study, adopting_study,
]  # fmt: skip


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.usefixtures("tables")
def test_what_a_running_study_returns_is_what_its_directory_says(
    study: Study, tmp_path: Path
) -> None:
    record = study(tmp_path)

    again = reread_study(directory_of(record))

    assert again == record
    assert again.model_dump_json() == record.model_dump_json()
    assert again.document() == record.document()
    assert record.status == "completed"


@pytest.mark.usefixtures("tables")
def test_every_part_of_a_worker_study_is_reread(tmp_path: Path) -> None:
    again = reread_study(directory_of(workers_study(tmp_path)))

    assert [arm.name for arm in again.fresh_arms] == ["2", "4", "1"]
    assert again.details["confirmation"]["verdict"] == "faster"
    assert again.details["predicted"]["step_s"] == pytest.approx(0.010, rel=0.01)
    assert [run.status for run in again.result("4").trained] == ["completed"]
    assert again.details["usable_cpus"] == ENVIRONMENT["cpus_usable"]


def test_a_worker_study_none_of_whose_arms_works_knows_its_machine(tmp_path: Path) -> None:
    ended = {"build": ArmEndedError("failed", "no")}
    ends = dict.fromkeys(("0", "2", "2 again", "resident"), ended)
    machine = FakeMachine(workers.step_ns, ends)

    record = workers.run(tmp_path, workers.request(grid=(0, 2), blocks=1), machine)

    assert record.details["usable_cpus"] == directory_of(record).read_aside().usable_cpus > 0
    assert reread_study(directory_of(record)) == record


@pytest.mark.parametrize("study", [workers_study, batchnorm_study])
@pytest.mark.usefixtures("tables")
def test_a_study_is_reread_without_torch_and_without_what_starts_processes(
    study: Study, tmp_path: Path
) -> None:
    record = study(tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from laptime.studies.reread import reread_study\n"
        "from laptime.study_store import StudyDirectory\n"
        "record = reread_study(StudyDirectory(Path(sys.argv[1])))\n"
        "unwanted = ('torch', 'laptime.studies.process', 'laptime.studies.runner')\n"
        "assert not [name for name in unwanted if name in sys.modules]\n"
        "print(record.model_dump_json())"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, record.directory], capture_output=True, text=True, check=True
    )

    assert done.stdout == record.model_dump_json() + "\n"


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.usefixtures("tables")
def test_rereading_changes_nothing_in_the_directory(study: Study, tmp_path: Path) -> None:
    directory = directory_of(study(tmp_path))
    files = {path: path.stat().st_mtime_ns for path in directory.path.rglob("*")}

    reread_study(directory)

    assert {path: path.stat().st_mtime_ns for path in directory.path.rglob("*")} == files


@pytest.mark.usefixtures("tables")
def test_a_study_that_lacks_nothing_is_gone_on_with_without_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = workers_study(tmp_path)
    directory = directory_of(record)
    monkeypatch.setattr(catalog, "open_workshop", no_start)

    assert catalog.continue_study(directory, Notes()) == record
    assert (directory.path / "study.json").is_file()
    assert list(directory.charts.glob("*.svg"))


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.usefixtures("tables")
def test_a_completed_study_lacks_nothing(study: Study, tmp_path: Path) -> None:
    record = study(tmp_path)

    assert finished_study(directory_of(record)) == record


def test_a_study_without_a_plan_says_so_and_is_not_finished(tmp_path: Path) -> None:
    directory = create_study(tmp_path, workers.request())

    with pytest.raises(StoreError, match=r"has no plan yet: .* --resume .* goes on with it"):
        reread_study(directory)
    assert finished_study(directory) is None


def test_a_study_of_another_version_is_refused(tmp_path: Path) -> None:
    directory = create_study(tmp_path, StudyRequest(study="colours", settings=BASE))

    with pytest.raises(StoreError, match="is a study of 'colours', which"):
        reread_study(directory)


# Studies that came to an early end.


def cut_short(path: Path, asked: StudyRequest, turn: int) -> StudyDirectory:
    """Interrupt a worker study in some turn."""
    turns = 0

    def step_ns(name: str, number: int) -> int:
        nonlocal turns
        turns += 1
        if turns == turn:
            raise KeyboardInterrupt
        return workers.step_ns(name, number)

    workshop, _ = workers.workshop(path, asked, FakeMachine(step_ns))
    with pytest.raises(KeyboardInterrupt):
        run_workers(workshop, asked)
    return workshop.directory


def test_a_study_that_was_interrupted_says_what_its_blocks_say(tmp_path: Path) -> None:
    asked = workers.request(grid=(0, 2, 4))
    directory = cut_short(tmp_path, asked, turn=60)

    record = reread_study(directory)

    assert record.status == "interrupted"
    assert 0 < record.blocks == len(directory.read_blocks()) < 5
    assert record.details["recommended"] is None
    assert render_study(record)
    assert finished_study(directory) is None


def test_a_study_that_was_interrupted_in_its_fresh_blocks_is_not_completed(tmp_path: Path) -> None:
    whole = workers.run(tmp_path / "whole", workers.request(grid=(0, 2, 4, 8)))
    directory = directory_of(whole)
    lines = directory.blocks.read_text().splitlines(keepends=True)
    directory.blocks.write_text("".join(lines[:7]))

    record = reread_study(directory)

    assert (record.status, record.blocks) == ("interrupted", 5)
    assert [len(arm.replicates) for arm in record.fresh_arms] == [2, 2]
    assert render_study(record)


def test_before_the_first_fresh_block_there_are_no_fresh_arms(tmp_path: Path) -> None:
    directory = directory_of(workers.run(tmp_path, workers.request(grid=(0, 2, 4, 8))))
    lines = directory.blocks.read_text().splitlines(keepends=True)
    directory.blocks.write_text("".join(lines[:5]))

    record = reread_study(directory)

    assert record.status == "interrupted"
    assert (record.fresh_arms, record.fresh_refusals) == ((), ())


def test_fresh_blocks_of_a_count_that_is_no_longer_recommended_are_no_proof(
    tmp_path: Path,
) -> None:
    asked = workers.request(grid=(0, 2, 4, 8))
    directory = directory_of(workers.run(tmp_path, asked))
    document = directory.path / "plan-confirmation.json"
    document.write_text(document.read_text().replace('"name": "4"', '"name": "8"'))

    record = run_workers(
        replace(workers.workshop(tmp_path, asked, FakeMachine(workers.step_ns))[0],
                directory=directory), asked,
    )  # fmt: skip

    assert record.status == "completed"
    assert (record.fresh_arms, record.details["confirmation"]) == ((), None)


@pytest.mark.parametrize("made", [8, 14])  # of six runs and eight candidates
def test_a_study_that_was_interrupted_in_the_search_for_rates_has_none_yet(
    made: int, tmp_path: Path
) -> None:
    directory = directory_of(optimizers_study(tmp_path))
    lines = directory.trained.read_text().splitlines(keepends=True)
    directory.trained.write_text("".join(lines[:made]))
    (directory.path / "plan-confirmation.json").unlink()

    record = reread_study(directory)

    assert record.status == "interrupted"
    assert record.details["tuned"] is None
    assert render_study(record)


def test_rates_that_were_chosen_are_not_chosen_again(tmp_path: Path) -> None:
    whole = optimizers_study(tmp_path)
    directory = directory_of(whole)
    lines = directory.trained.read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"adam tried at 0.001"' not in line]
    directory.trained.write_text("".join(kept[:-1]))
    interrupted = reread_study(directory)

    again = Trainings(learned)
    request = directory.read_request()
    record = run_optimizers(workshop_in(directory.path), request, train=again.train)

    assert (interrupted.status, record.status) == ("interrupted", "completed")
    assert [name.split()[1] for name, _ in again.log] == ["at"]
    assert record.details["tuned"]["adam"]["lr"] == whole.details["tuned"]["adam"]["lr"]


def test_a_study_that_was_interrupted_in_its_last_look_is_not_completed(tmp_path: Path) -> None:
    request = request_of("batchnorm", BASE, seeds=SEEDS, blocks=0)
    ends: Any = {"none": {"gradients": KeyboardInterrupt()}}
    workshop = workshop_in(tmp_path, request, ends=ends)
    with pytest.raises(KeyboardInterrupt):
        run_batchnorm(workshop, request, train=ordered)

    record = reread_study(workshop.directory)

    assert record.status == "interrupted"
    assert "gradients" not in record.details


def test_a_study_that_the_budget_ended_is_reread_as_it_was(tmp_path: Path) -> None:
    request = request_of("optimizers", BASE, blocks=0)
    workshop = workshop_in(tmp_path, request, budget_s=1e-3)
    record = run_optimizers(workshop, request, train=ordered)

    assert record.status == "interrupted"
    assert reread_study(workshop.directory) == record


# What is stored beside blocks and runs.


def test_the_full_model_is_not_timed_again(tmp_path: Path) -> None:
    asked = workers.request(grid=(0, 1, 2), full=build_settings({}))
    record = workers.run(tmp_path, asked)
    machine = FakeMachine(workers.step_ns)
    workshop, _ = workers.workshop(tmp_path, asked, machine)

    again = run_workers(replace(workshop, directory=directory_of(record)), asked)

    assert "resident full" not in {name for name, _ in machine.log}
    assert again == record


def test_a_full_model_that_cannot_be_timed_is_not_tried_again(tmp_path: Path) -> None:
    asked = workers.request(grid=(0, 2), full=build_settings({}))
    ends = {"resident full": {"turn": ArmEndedError("out_of_memory", "no memory")}}

    record = workers.run(tmp_path, asked, FakeMachine(workers.step_ns, ends))

    assert record.details["predicted"] is None
    assert finished_study(directory_of(record)) == record


def test_the_first_step_is_not_looked_at_again(tmp_path: Path) -> None:
    record = batchnorm_study(tmp_path)
    directory = directory_of(record)

    again = run_batchnorm(idle(directory), directory.read_request(), train=ordered)

    assert again == record


def test_devices_are_not_looked_for_again(tmp_path: Path) -> None:
    record = lone_device_study(tmp_path)
    directory = directory_of(record)

    again = run_devices(idle(directory), directory.read_request(), find=no_start)

    assert again == record
    assert again.details["missing"].startswith("Only the CPU was timed")


def test_a_study_that_was_moved_says_where_it_is_now_and_else_the_same(tmp_path: Path) -> None:
    record = adopting_study(tmp_path / "runs")
    place = tmp_path / "elsewhere" / record.id
    shutil.move(record.directory, place)
    shutil.rmtree(tmp_path / "runs")

    moved = reread_study(StudyDirectory(place))

    assert moved == record.model_copy(update={"directory": str(place)})
    assert moved.details["num_classes"] == 7
    assert moved.environment is not None
    assert moved.environment.cpu == "theirs"


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", '{"usable_cpus": "many"}', '{"unheard_of": 1}', '{"full_step_s": NaN}',
        '{"first_step": {"gradients": {"batch": [["conv1"]]}}}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_in_one_line(content: str, tmp_path: Path) -> None:
    directory = directory_of(lone_device_study(tmp_path))
    (directory.path / "aside.json").write_text(content)

    with pytest.raises(StoreError, match=r"aside\.json is (damaged|not JSON)") as raised:
        reread_study(directory)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("study", "missing"),
    [
        (workers_study, {"predicted"}),
        (devices_study, {"missing"}),
        (lone_device_study, {"missing"}),
        (batchnorm_study, {"gradients", "activations"}),
        (optimizers_study, set()),
        (untimed_study, set()),
    ],
)
@pytest.mark.usefixtures("tables")
def test_a_study_of_old_is_reread_without_what_it_did_not_store(
    study: Study, missing: set[str], tmp_path: Path
) -> None:
    record = study(tmp_path)
    directory = directory_of(record)
    (directory.path / "aside.json").unlink()

    old = reread_study(directory)

    assert old.status == "completed"
    assert render_study(old)
    assert {k: v for k, v in old.details.items() if k not in missing} == {
        k: v for k, v in record.details.items() if k not in missing
    }
    assert {old.details.get(name) for name in missing} <= {None}
    # What it lacks is measured when somebody goes on with it.
    assert (finished_study(directory) is None) == bool(missing)
