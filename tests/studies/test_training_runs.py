from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.studies.fakes import Notes, arm
from tests.studies.trainings import Trainings, epoch, workshop_in

from laptime.errors import SettingsError
from laptime.replicate import TrainedReplicate
from laptime.studies import training_runs
from laptime.studies.ending import ending
from laptime.studies.plan import make_plan
from laptime.studies.runner import Workshop
from laptime.studies.training_plans import training_order
from laptime.studies.training_process import Pulse, TrainingProcess, TrainingTask
from laptime.studies.training_runs import adopt_trained, run_trainings, simultaneous
from laptime.study import Arm, Plan
from laptime.study_store import StudyDirectory
from laptime.timing.clock import FakeClock, sleep_s

S = 1_000_000_000


def plan_of(*names: str, seeds: tuple[int, ...] = (0, 1), **settings: Any) -> Plan:
    settings = {"device": "cpu", **settings}
    arms = [arm(name, lr=0.1 + n / 100, **settings) for n, name in enumerate(names)]
    return make_plan("optimizers", arms, names[0], ("lr",), blocks=0, seeds=seeds)


def run(
    place: Workshop, plan: Plan, start: Callable[[TrainingTask], Any], **more: Any
) -> list[TrainedReplicate]:
    return run_trainings(place, plan, start=start, **more)


def notes_of(place: Workshop) -> Notes:
    assert isinstance(place.listener, Notes)
    return place.listener


def keys(trained: list[TrainedReplicate]) -> list[tuple[str, int]]:
    return [(run.arm, run.seed) for run in trained]


def test_runs_are_made_seed_by_seed_so_that_an_interruption_leaves_whole_seeds(
    tmp_path: Path,
) -> None:
    start = Trainings()

    trained = run(workshop_in(tmp_path), plan_of("a", "b"), start)

    assert start.log == keys(trained) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_twins_and_resident_arms_are_not_trained_and_a_seed_only_once() -> None:
    base = arm("a")
    twin = base.model_copy(update={"name": "a again", "again_of": "a"})
    resident = Arm(name="resident", settings=base.settings, feed="resident")
    plan = make_plan("workers", [base, twin, resident], "a", (), blocks=0, seeds=(3, 3, 4))

    assert [(a.name, seed) for a, seed in training_order(plan)] == [("a", 3), ("a", 4)]


def test_a_finished_run_is_stored_at_once_and_never_made_again(tmp_path: Path) -> None:
    def interrupted(name: str, seed: int, settings: Any) -> Any:
        return KeyboardInterrupt() if (name, seed) == ("b", 1) else epoch()

    first, second = Trainings(interrupted), Trainings()
    plan = plan_of("a", "b")

    with pytest.raises(KeyboardInterrupt):
        run(workshop_in(tmp_path), plan, first, parallel=1)
    stored = keys(StudyDirectory(tmp_path).read_trained())
    trained = run(workshop_in(tmp_path), plan, second)

    assert stored == [("a", 0), ("b", 0), ("a", 1)]
    assert second.log == [("b", 1)]
    assert len(trained) == 4


def test_an_interruption_ends_the_runs_in_progress(tmp_path: Path) -> None:
    start = Trainings(lambda name, seed, settings: KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        run(workshop_in(tmp_path), plan_of("a", "b"), start, parallel=2)

    assert [handle.killed for handle in start.started] == [True, True]


def test_sixty_runs_with_thirty_accidents_are_sixty_outcomes(tmp_path: Path) -> None:
    accidents = ["out_of_memory"] * 12 + ["diverged"] * 6 + ["timed_out"] * 6 + ["failed"] * 6

    def outcome(name: str, seed: int, settings: Any) -> Any:
        place = seed * 12 + int(name)
        return accidents[place // 2] if place % 2 else epoch()

    plan = plan_of(*map(str, range(12)), seeds=(0, 1, 2, 3, 4))
    place = workshop_in(tmp_path)
    trained = run(place, plan, Trainings(outcome))

    ends = [replicate.status for replicate in trained]
    assert len(ends) == notes_of(place).trainings == 60
    assert {end: ends.count(end) for end in set(ends)} == {
        "completed": 30, "out_of_memory": 12, "diverged": 6, "timed_out": 6, "failed": 6,
    }  # fmt: skip


def test_settings_that_the_very_first_run_refuses_end_the_study(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="refused"):
        run(
            workshop_in(tmp_path),
            plan_of("a", "b"),
            Trainings(lambda name, seed, settings: "refused"),
        )

    assert StudyDirectory(tmp_path).read_trained() == []


def test_settings_that_a_later_run_refuses_are_an_outcome(tmp_path: Path) -> None:
    refusing = Trainings(lambda name, seed, settings: "refused" if name == "b" else epoch())

    trained = run(workshop_in(tmp_path), plan_of("a", "b"), refusing, parallel=1)

    assert [replicate.status for replicate in trained] == ["completed", "failed"] * 2


def test_no_run_begins_that_the_budget_does_not_hold(tmp_path: Path) -> None:
    place = workshop_in(tmp_path, budget_s=0.9)
    trained = run(place, plan_of("a", "b"), Trainings(), parallel=2)

    # The first ones are made: nothing is known yet of how long one takes.
    assert keys(trained) == [("a", 0), ("b", 0)]
    assert notes_of(place).warnings == ["The budget ends here: 2 of 4 training runs are missing."]


@pytest.mark.parametrize(
    ("cpus", "devices", "expected"),
    [(1, ["cpu"], 1), (2, ["cpu"], 2), (16, ["cpu", "cpu"], 2), (16, ["cpu", "cuda"], 1)],
)
def test_two_runs_at_a_time_on_a_cpu_with_two_cores_else_one(
    cpus: int, devices: list[str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_runs, "usable_cpus", lambda: cpus)
    arms = [arm(f"{n}", device=device) for n, device in enumerate(devices)]

    assert simultaneous(make_plan("x", arms, "0", (), blocks=0)) == expected


def test_two_runs_at_a_time_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_runs, "usable_cpus", lambda: 2)
    both, alone = Trainings(), Trainings()

    run(workshop_in(tmp_path / "both"), plan_of("a"), both)
    run(workshop_in(tmp_path / "alone"), plan_of("a"), alone, parallel=1)

    assert {handle.task.environ()["OMP_NUM_THREADS"] for handle in both.started} == {"1"}
    assert {handle.task.threads for handle in alone.started} == {None}


def test_every_setting_of_an_arm_is_on_its_command_line(tmp_path: Path) -> None:
    given = {"lr": 1e-7, "evaluate": True, "samples": 256, "data": "my data.py:build"}
    task = TrainingTask(arm("a", **given), 7, StudyDirectory(tmp_path), 10.0)

    words = task.words(tmp_path / "here")

    flat = {**task.arm.settings.flat(), "seed": 7}
    assert words[:3] == ["train", "--json", f"--runs-dir={tmp_path / 'here'}"]
    assert {"--lr=1e-07", "--evaluate=true", "--data=my data.py:build", "--seed=7"} <= set(words)
    assert len(words) == 3 + sum(value is not None for value in flat.values())


def test_a_run_that_is_made_again_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    task = TrainingTask(arm("sgd, lr/0.1"), 3, StudyDirectory(tmp_path), 10.0)
    names = []
    for _ in range(3):
        folder = task.new_folder()
        folder.mkdir(parents=True)
        names.append(folder.relative_to(tmp_path).as_posix())

    assert names == [f"runs/sgd-lr-0.1-s3{again}" for again in ("", "-2", "-3")]


def test_a_folder_is_silent_from_its_last_change_on(tmp_path: Path) -> None:
    clock = FakeClock()
    pulse = Pulse(tmp_path, clock.read_ns)
    clock.advance_ns(9 * S)
    assert pulse.silent_s() == 9.0

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "steps.jsonl").write_text("{}\n")
    assert pulse.silent_s() == 0.0
    clock.advance_ns(3 * S)
    assert pulse.silent_s() == 3.0


def test_the_calendar_does_not_end_a_run(tmp_path: Path) -> None:
    clock = FakeClock()
    (tmp_path / "steps.jsonl").write_text("{}\n")
    pulse = Pulse(tmp_path, clock.read_ns)

    os.utime(tmp_path / "steps.jsonl", (0, 0))

    assert pulse.silent_s() == 0.0


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-signal.SIGKILL, ("killed", "SIGKILL (the kernel does this when memory runs out)")),
        (-signal.SIGSEGV, ("killed", "SIGSEGV")),
        (-63, ("killed", "signal 63")),
        (130, ("killed", "stopped from outside")),
        (3, ("failed", "status 3")),
        (0, ("failed", "status 0")),
    ],
)
def test_a_process_that_says_nothing_is_known_by_its_status(
    code: int, expected: tuple[str, str]
) -> None:
    status, reason = ending(code)

    assert status == expected[0]
    assert reason.endswith(expected[1])


def test_runs_of_the_same_settings_are_taken_over_from_another_study(tmp_path: Path) -> None:
    theirs, ours = workshop_in(tmp_path / "theirs"), workshop_in(tmp_path / "ours")
    ends = {("a", 1): "diverged", ("a", 2): "killed"}
    outcome = Trainings(lambda name, seed, settings: ends.get((name, seed), epoch()))
    data = {"data": "own.py:build"}
    theirs.directory.write_plan(plan_of("a", "b", seeds=(0, 1, 2), **data))
    run(theirs, plan_of("a", "b", seeds=(0, 1, 2), **data), outcome)
    same = Arm(name="mine", settings=arm("x", lr=0.1, device="cpu", seed=9, **data).settings)
    other = Arm(name="other", settings=arm("x", lr=0.7, device="cpu", **data).settings)
    plan = make_plan("batchnorm", [same, other], "mine", (), blocks=0, seeds=(0, 1, 2, 3))

    adopted = adopt_trained(ours.directory, plan, theirs.directory)
    again = adopt_trained(ours.directory, plan, theirs.directory)

    stored = ours.directory.read_trained()
    assert (adopted, again) == (2, 0)
    assert [(r.arm, r.seed, r.status) for r in stored] == [
        ("mine", 0, "completed"), ("mine", 1, "diverged"),
    ]  # fmt: skip
    assert {r.run for r in stored} == {"../theirs/runs/a"}


def test_runs_on_other_data_are_not_taken_over(tmp_path: Path) -> None:
    theirs, ours = workshop_in(tmp_path / "theirs"), workshop_in(tmp_path / "ours")
    plan = plan_of("a", data="synthetic", samples=16)
    theirs.directory.write_plan(plan)
    run(theirs, plan, Trainings())

    # Their run has left no record of what it was trained on.
    assert adopt_trained(ours.directory, plan, theirs.directory) == 0


# What follows starts real processes.

FAULTY = """
import os, signal, sys
import torch

class Data:
    def __init__(self, fault):
        self.fault = fault

    def __len__(self):
        return 64

    def __getitem__(self, index):
        if 2 <= index < 62:  # the first and the last are looked at before a run begins
            self.fault()
        return torch.zeros(3, 32, 32), 0

def stop():
    # Wait for a signal that never comes: no clock is read, no core is used.
    signal.pause()

def hang(): return Data(stop)
def crash(): return Data(lambda: 1 / 0)
def leave(): return Data(lambda: os._exit(7))
def quit(): return Data(lambda: sys.exit(0))
def kill(): return Data(lambda: os.kill(os.getpid(), signal.SIGKILL))
def full(): raise MemoryError("no room for the data")
def memory(): return Data(lambda: torch.empty(1 << 60))
def nan(): return NaN()

class NaN(Data):
    def __init__(self):
        super().__init__(lambda: None)

    def __getitem__(self, index):
        return torch.full((3, 32, 32), float("nan") if 2 <= index < 62 else 0.0), 0
"""


def task_of(path: Path, timeout_s: float = 120.0, **settings: Any) -> TrainingTask:
    tiny = {"width": 1, "batch_size": 16, "epochs": 2, "num_workers": 0, "device": "cpu"}
    values = {**tiny, "data": "synthetic", "samples": 32, **settings}
    return TrainingTask(arm("a", **values), 5, StudyDirectory(path), timeout_s, threads=1)


def outcome_of(task: TrainingTask) -> TrainedReplicate:
    process = TrainingProcess(task)
    try:
        while (replicate := process.poll()) is None:
            sleep_s(0.02)
    finally:
        process.kill()
    return replicate


@pytest.mark.slow
def test_a_run_ends_with_its_record_and_without_its_checkpoints(tmp_path: Path) -> None:
    replicate = outcome_of(task_of(tmp_path))

    assert (replicate.status, replicate.reason, replicate.seed) == ("completed", None, 5)
    assert len(replicate.epochs) == 2
    assert replicate.run is not None
    assert replicate.run.startswith("runs/a-s5/")
    left = tmp_path / replicate.run
    assert (left / "epochs.jsonl").is_file()
    assert list((left / "checkpoints").iterdir()) == []
    assert replicate.wall_ns > sum(epoch.wall_ns for epoch in replicate.epochs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("crash", "failed", "ZeroDivisionError"),
        ("leave", "failed", "its process ended with status 7"),
        ("quit", "failed", "its process ended with status 0"),
        ("kill", "killed", "SIGKILL"),
        ("full", "out_of_memory", "no room for the data"),
        ("memory", "out_of_memory", "memory"),
        ("nan", "diverged", "not finite at epoch 1, step 1"),
        ("hang", "timed_out", "wrote nothing for 12 s"),
    ],
)
def test_every_accident_is_an_outcome(fault: str, status: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    given = {"data": f"{tmp_path / 'faulty.py'}:{fault}", "samples": None}

    replicate = outcome_of(task_of(tmp_path, 12.0 if fault == "hang" else 120.0, **given))

    assert replicate.status == status
    assert reason in (replicate.reason or "")
    assert replicate.last is None
    assert (replicate.run is None) == (fault == "full")


@pytest.mark.slow
def test_what_cannot_be_used_is_refused_with_the_line_that_train_prints(tmp_path: Path) -> None:
    process = TrainingProcess(task_of(tmp_path, data="/nowhere/at/all"))
    while (replicate := process.poll()) is None:
        sleep_s(0.02)

    assert process.refused
    assert replicate.status == "failed"
    assert (replicate.reason or "").startswith("data is '/nowhere/at/all', but there is no such")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_a_run_ends_with_the_study_whatever_ends_that(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.studies.test_training_runs import task_of
from laptime.studies.training_process import TrainingProcess
process = TrainingProcess(task_of(Path({str(tmp_path)!r}), data={str(tmp_path)!r}
    + "/faulty.py:hang", samples=None, num_workers=1))
print(process._process.pid, flush=True)
sys.stdin.read()
"""
    study = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert study.stdin is not None
    assert study.stdout is not None
    child = psutil.Process(int(study.stdout.readline()))
    while not list((tmp_path / "runs").rglob("status.json")):
        sleep_s(0.05)
    study.kill()
    study.wait()
    study.stdin.close()
    study.stdout.close()

    _, alive = psutil.wait_procs([child], timeout=20)
    assert alive == []
    shutil.rmtree(tmp_path / "runs")
