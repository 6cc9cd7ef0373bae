"""``laptime compare`` on directories written without training, and once with two real runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from laptime.cli.main import app, status_of
from laptime.phase import Phase
from laptime.record import DataRecord, EnvironmentRecord, EpochRecord
from laptime.replicate import Block, NoiseRecord, Replicate, TrainedReplicate, Turn
from laptime.settings import build_settings
from laptime.store import RunDirectory, new_status
from laptime.study import Arm, Plan, StudyRequest
from laptime.study_store import StudyDirectory

MS = 1_000_000

MACHINE: dict[str, Any] = {
    "cpu": "A processor",
    "cpus_usable": 2,
    "cpus_total": 4,
    "memory_bytes": 8,
    "memory_usable_bytes": 4,
    "shm_bytes": None,
    "platform": "Linux",
    "python": "3.11.2",
    "torch": "2.13.0",
    "laptime": "0.1.0",
    "device": "cpu",
    "device_name": "A processor",
    "threads": 2,
    "interop_threads": 2,
    "start_method": "fork",
}

DATA = DataRecord(
    name="synthetic", source="embedded generator", verified=True, label="embedded set",
    sha256="0" * 64, train_samples=3200, test_samples=10, num_classes=10,
)  # fmt: skip

Laptime = Callable[..., int]


@pytest.fixture
def laptime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptime:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        return status_of(
            lambda: app.main(["compare", *arguments], prog_name="laptime", standalone_mode=False)
        )

    return run


@pytest.fixture
def compared(laptime: Laptime, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Return the exit status and the JSON document of a comparison."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        status = laptime(*arguments, "--json")
        out, err = capsys.readouterr()
        assert out, err
        return status, json.loads(out)

    return run


def refused(capsys: pytest.CaptureFixture[str], status: int, *expected: str) -> None:
    out, err = capsys.readouterr()
    assert status == 2, (out, err)
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("laptime: ")
    for words in expected:
        assert words in err


def write_run(
    name: str,
    loading_ms: int = 500,
    *,
    status: str = "completed",
    epochs: int = 3,
    machine: dict[str, Any] | None = None,
    runs_dir: str = "runs",
    **settings: Any,
) -> Path:
    run = RunDirectory(Path(runs_dir) / name)
    run.checkpoints.mkdir(parents=True)
    values = {"data": "synthetic", "device": "cpu", "epochs": 3, **settings}
    environment = EnvironmentRecord(**{**MACHINE, **(machine or {})})
    run.write_start(build_settings(values), environment, DATA)
    reason = None if status == "completed" else "why it ended"
    run.write_status(new_status().model_copy(update={"status": status, "reason": reason}))
    for number in range(1, epochs + 1):
        phases = {Phase.DATA_WAIT: loading_ms * MS, Phase.FORWARD: 1500 * MS}
        run.append_epoch(
            EpochRecord(
                epoch=number, samples=3200, steps=25, loss=2 / number, correct=1000,
                wall_ns=sum(phases.values()), phases_ns=phases, mode="host", cold=number == 1,
            )
        )  # fmt: skip
    return run.path


def plan_of(study: str = "workers", blocks: int = 5, seeds: Sequence[int] = ()) -> Plan:
    """Return a plan of two arms and a twin."""
    questions: dict[str, tuple[str, tuple[Any, Any]]] = {
        "workers": ("num_workers", (0, 4)),
        "optimizers": ("optimizer", ("sgd", "adam")),
    }
    setting, values = questions[study]
    arms = [
        Arm(
            name=str(value),
            settings=build_settings({"data": "synthetic", "device": "cpu", setting: value}),
        )
        for value in values
    ]
    twin = arms[0].model_copy(update={"name": f"{arms[0].name} again", "again_of": arms[0].name})
    return Plan(
        study=study, arms=(*arms, twin), baseline=arms[0].name, factors=(setting,), blocks=blocks,
        seeds=tuple(seeds),
    )  # fmt: skip


def write_study(
    name: str,
    factor: float = 1.0,
    *,
    plan: Plan | None = None,
    blocks: int | None = None,
    machine: dict[str, Any] | None = None,
    sentinel_ms: float = 60,
    runs_dir: str = "runs",
) -> StudyDirectory:
    """Write a study whose first arm takes 40 ms a step and all others 30."""
    plan = plan or plan_of()
    study = StudyDirectory(Path(runs_dir) / name)
    study.path.mkdir(parents=True)
    study.write_request(StudyRequest(study=plan.study, settings=plan.arms[0].settings))
    study.write_plan(plan)
    study.write_sentinel(150_000)
    random = Random(name)
    environment = EnvironmentRecord(**{**MACHINE, **(machine or {})})
    for number in range(1, (plan.blocks if blocks is None else blocks) + 1):
        replicates = tuple(
            replicate_of(arm, number, factor, random, environment, sentinel_ms) for arm in plan.arms
        )
        study.append_block(
            Block(
                block=number, started="2026-01-01T00:00:00", wall_ns=10**10, replicates=replicates
            )
        )
    return study


def replicate_of(
    arm: Arm,
    block: int,
    factor: float,
    random: Random,
    environment: EnvironmentRecord,
    sentinel_ms: float,
) -> Replicate:
    step_ms = (40 if arm.name.split()[0] in {"0", "sgd"} else 30) * factor
    turns = []
    for number in range(1, 7):
        wall_ns = round(30 * step_ms * MS * random.lognormvariate(0, 0.005))
        waiting_ns = wall_ns // 4
        noise = NoiseRecord(
            sentinel_before_ns=round(sentinel_ms * MS), sentinel_after_ns=round(sentinel_ms * MS),
            foreign_cores=0.01, clock_mhz=2900.0,
        )  # fmt: skip
        phases = {Phase.DATA_WAIT: waiting_ns, Phase.FORWARD: wall_ns - waiting_ns}
        turns.append(
            Turn(round=number, discarded=0, steps=30, wall_ns=wall_ns, phases_ns=phases,
                 noise=noise)
        )  # fmt: skip
    return Replicate(
        arm=arm.name, block=block, status="completed", steps_per_epoch=25.0, turns=tuple(turns),
        num_workers=arm.settings.loader.num_workers, loader_start_ns=(MS,), loader_end_ns=(MS,),
        first_losses=(2.3, 2.2), environment=environment, data_sha256="0" * 64,
        data_label="embedded set",
    )  # fmt: skip


def test_two_runs_are_found_by_the_beginning_or_end_of_their_names(
    laptime: Laptime, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run("2026-01-01_resnet18_aaaa", 500, num_workers=4)
    write_run("2026-01-02_resnet18_bbbb", 2500, num_workers=1)

    assert laptime("aaaa", "2026-01-02") == 0

    out = capsys.readouterr().out
    assert out.startswith("Inconclusive: an epoch of A takes 0.500 times as long as one of B")
    assert "laptime study workers --like 2026-01-02_resnet18_bbbb --num-workers 1,4" in out


def test_a_path_a_name_and_another_runs_dir_lead_to_the_same_run(compared: Any) -> None:
    path = write_run("one", runs_dir="kept")
    write_run("two", runs_dir="kept")

    for words in ((str(path), "two"), (str(path.resolve()), "two"), ("one", "two")):
        _, document = compared(*words, "--runs-dir", "kept")
        assert (document["a"]["id"], document["b"]["id"]) == ("one", "two")


def test_a_whole_name_wins_over_names_that_begin_so(compared: Any) -> None:
    for name in ("run", "run-2", "other"):
        write_run(name)

    assert compared("run", "other")[1]["a"]["id"] == "run"


def test_two_arms_of_a_study_are_paired(compared: Any) -> None:
    write_study("2026-01-01_study-workers_aaaa")

    status, document = compared("aaaa:4", "aaaa:0")

    assert status == 0
    assert (document["kind"], document["verdict"]) == ("arms", "faster")
    assert document["is_paired"] is True
    assert document["ratio"] == pytest.approx(0.75, rel=0.05)
    assert (document["n_a"], document["n_b"]) == (5, 5)
    assert document["differences"]["settings"] == {"num_workers": {"a": 4, "b": 0}}


def test_arms_of_one_study_are_paired_however_it_is_named(compared: Any) -> None:
    path = write_study("study").path

    for words in (("study:4", f"{path}:0"), (f"{path.resolve()}:4", "study:0")):
        assert compared(*words)[1]["is_paired"] is True


def test_two_studies_are_not_paired(compared: Any) -> None:
    write_study("2026-01-01_study-workers_aaaa")
    write_study("2026-01-02_study-workers_bbbb", 1.2)

    status, document = compared("aaaa", "bbbb")
    _, of_arm = compared("aaaa:4", "bbbb:4")

    assert (status, document["kind"], document["verdict"]) == (0, "studies", "faster")
    assert document["reason"] == "unpaired_interval_outside_zone"
    assert [arm["arm"] for arm in document["arms"]] == ["4"]
    assert (of_arm["kind"], of_arm["a"]["arm"], of_arm["verdict"]) == ("arms", "4", "faster")


def test_without_blocks_the_conditions_are_those_of_the_training_runs(compared: Any) -> None:
    for name, torch in (("one", "2.13.0"), ("two", "2.12.0")):
        study = write_study(name, plan=plan_of("optimizers", blocks=0, seeds=range(5)))
        write_run("sgd-s0", runs_dir=str(study.runs), machine={"torch": torch})
        study.append_trained(
            TrainedReplicate(arm="sgd", seed=0, status="completed", run="runs/sgd-s0")
        )

    status, document = compared("one", "two", "--quantity", "accuracy")

    assert (status, document["reason"]) == (3, "environment_differs")
    assert list(document["differences"]["environment"]) == ["torch"]


def test_an_arm_may_have_a_colon_in_its_name(compared: Any) -> None:
    plan = plan_of()
    arms = (plan.arms[0], plan.arms[1].model_copy(update={"name": "cuda:1"}))
    write_study("2026-01-01_study-workers_aaaa", plan=plan.model_copy(update={"arms": arms}))

    assert compared("aaaa:cuda:1", "aaaa:0")[1]["a"]["arm"] == "cuda:1"


def test_accuracies_are_compared_over_seeds(compared: Any) -> None:
    study = write_study(
        "2026-01-01_study-optimizers_aaaa", plan=plan_of("optimizers", seeds=range(5))
    )
    for seed in range(5):
        for arm, correct in (("sgd", 600), ("adam", 400)):
            epoch = EpochRecord(
                epoch=1, samples=1000, steps=1, loss=1.0 + seed / 100, correct=correct + seed,
                wall_ns=0, phases_ns={}, mode="off",
            )  # fmt: skip
            study.append_trained(
                TrainedReplicate(arm=arm, seed=seed, status="completed", epochs=(epoch,))
            )

    status, document = compared("aaaa:adam", "aaaa:sgd", "--quantity", "accuracy")

    assert (status, document["verdict"]) == (0, "lower")
    assert document["ratio"] == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("one one", "A and B are the same: one. Name two."),
        ("one runs/one", "A and B are the same"),
        ("study study:0", "A and B are the same"),
        ("study:4 study:4", "A and B are the same"),
        ("one nothing", "'nothing' names no run and no study in runs"),
        ("o one", "'o' names 4 runs and studies in runs: one, only, two and 1 more."),
        ("o:4 study", "'o:4' names 4 runs and studies in runs"),
        ("one study", "A is a run and B a study."),
        ("study:4 one", "A is a study and B a run."),
        ("study other", "A is a study of workers and B one of optimizers."),
        ("study:5 study:0", "'5' is no arm of study."),
        ("study: study:0", "'' is no arm of study."),
        ("one:4 study", "one is a run, and only studies have arms."),
        ("one broken", "is not JSON"),
        ("study bare", "bare has no plan yet"),
        ("study torn", "is damaged in line 1"),
        ("one", "Missing argument 'B'"),
        ("one two three", "unexpected extra argument (three)"),
        ("one two --quantity speed", "'speed' is not one of"),
        ("one two --require better", "'better' is not one of"),
        ("one two --quantity loss --require faster", "--require faster is about times"),
        (f"one {'x' * 5000}", "names no run and no study"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_exit_status_2(
    laptime: Laptime, capsys: pytest.CaptureFixture[str], words: str, expected: str
) -> None:
    for name in ("one", "two", "only"):
        write_run(name)
    (write_run("broken") / "status.json").write_text("{")
    write_study("study")
    write_study("other", plan=plan_of("optimizers"))
    (write_study("bare").path / "plan.json").unlink()
    write_study("torn").blocks.write_text("{}\n")

    refused(capsys, laptime(*words.split()), expected)


def test_an_empty_name_is_no_name(laptime: Laptime, capsys: pytest.CaptureFixture[str]) -> None:
    write_run("one")

    refused(capsys, laptime("", "one"), "'' names no run and no study")


def test_an_empty_place_names_itself(laptime: Laptime, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, laptime("a", "b", "--runs-dir", "nowhere"), "in nowhere")


@pytest.mark.parametrize("garbage", ["", "{", "{}", "[1]\n{}\n"])
def test_whatever_file_is_damaged_is_one_line_and_exit_status_2(
    laptime: Laptime, capsys: pytest.CaptureFixture[str], garbage: str
) -> None:
    # What the study was asked for is not needed, logs may be empty, and a run may have no settings
    # but the defaults.
    unread = {"request.json"}
    lines = {"epochs.jsonl", "blocks.jsonl"} if "\n" not in garbage else set()
    defaults = {"settings.json"} if garbage == "{}" else set()
    write_run("one")
    write_study("study")
    for word, other in ((write_run("two"), "one"), (write_study("damaged").path, "study")):
        for path in sorted(path for path in word.iterdir() if path.is_file()):
            whole = path.read_bytes()
            path.write_text(garbage)
            if path.name not in unread | lines | defaults:
                refused(capsys, laptime(str(word), other))
            path.write_bytes(whole)


def test_a_damaged_run_that_nobody_asked_for_is_in_nobodys_way(compared: Any) -> None:
    write_run("one")
    write_run("two")
    (write_run("broken") / "status.json").write_text("{")

    assert compared("one", "two")[0] == 0


@pytest.mark.parametrize("write", [write_run, write_study])
def test_unlike_conditions_are_exit_status_3_and_name_what_differs(
    laptime: Laptime, capsys: pytest.CaptureFixture[str], write: Any
) -> None:
    write("one")
    write("two", machine={"torch": "2.12.0"})

    assert laptime("one", "two") == 3

    out = capsys.readouterr().out
    assert out.startswith("Not measurable: A and B were not measured under the same conditions.")
    assert "torch       2.13.0  2.12.0" in out


@pytest.mark.parametrize("write", [write_run, write_study])
def test_uncontrolled_is_exit_status_0_unless_something_is_required(
    compared: Any, write: Any
) -> None:
    write("one")
    write("two", machine={"threads": 1})

    status, document = compared("one", "two", "--uncontrolled")
    required, _ = compared("one", "two", "--uncontrolled", "--require", "not-slower")

    assert (status, required) == (0, 3)
    assert document["uncontrolled"] is True
    assert document["verdict"] is None
    assert document["ratio"] is not None
    assert document["differences"]["environment"] == {"threads": {"a": 2, "b": 1}}


@pytest.mark.parametrize("status", ["diverged", "failed", "out_of_memory"])
def test_a_run_that_ended_badly_is_said_and_exit_status_3(
    laptime: Laptime, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    write_run("one", status=status)
    write_run("two")

    assert laptime("one", "two") == 3
    assert f"A {status.replace('_', ' ')}: why it ended." in capsys.readouterr().out


def test_an_interrupted_run_is_compared_by_what_it_has(
    laptime: Laptime, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run("one", status="interrupted", epochs=2)
    write_run("two")

    assert laptime("one", "two") == 0
    assert "A: interrupted, 2 of 3 epochs" in capsys.readouterr().out


def test_a_study_that_lacks_blocks_is_exit_status_3(compared: Any) -> None:
    write_study("one", blocks=2)
    write_study("two")

    status, document = compared("one", "two")

    assert (status, document["reason"]) == (3, "too_few_blocks")
    assert document["a"]["reason"] == "2 of 5 blocks"


def test_a_machine_that_changed_is_exit_status_3(compared: Any) -> None:
    write_study("one")
    write_study("two", sentinel_ms=64)

    status, document = compared("one", "two")

    assert (status, document["reason"]) == (3, "machine_changed")


@pytest.mark.parametrize(
    ("words", "requirement", "expected", "outcome"),
    [
        ("study:4 study:0", "not-slower", 0, "met"),
        ("study:4 study:0", "faster", 0, "met"),
        ("study:4 study:0", "equivalent", 1, "contradicted"),
        ("study:0 study:4", "not-slower", 1, "contradicted"),
        ("study:0 study:4", "not-faster", 0, "met"),
        ("study twin", "not-slower", 0, "met"),
        ("study twin", "equivalent", 0, "met"),
        ("study twin", "faster", 1, "contradicted"),
        ("one two", "not-slower", 3, "undecided"),
        ("study lacking", "not-slower", 3, "undecided"),
    ],
)
def test_what_is_required_decides_the_exit_status(
    compared: Any, words: str, requirement: str, expected: int, outcome: str
) -> None:
    write_study("study")
    write_study("twin")
    write_study("lacking", blocks=1)
    write_run("one", 100)
    write_run("two", 9000)

    status, document = compared(*words.split(), "--require", requirement)

    assert status == expected
    assert document["required"] == {"requirement": requirement, "outcome": outcome}


def test_nothing_is_written(laptime: Laptime) -> None:
    write_study("study")
    before = sorted(path for path in Path().rglob("*"))

    laptime("study:4", "study:0")

    assert sorted(path for path in Path().rglob("*")) == before


def test_the_help_says_which_of_the_two_is_the_baseline(
    laptime: Laptime, capsys: pytest.CaptureFixture[str]
) -> None:
    assert laptime("--help") == 0

    shown = " ".join(capsys.readouterr().out.split())
    assert "A is the candidate and B the baseline" in shown
    assert "ratio is time of A / time of B" in shown
    assert "1 if it contradicts it, 3 if it does not decide" in shown


def test_it_works_where_torch_is_not_installed(tmp_path: Path) -> None:
    write_study("study", runs_dir=str(tmp_path / "runs"))
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from laptime.cli.main import main\n"
        "main(['compare', 'study:4', 'study:0'])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Faster: ")


@pytest.mark.slow
def test_two_real_runs_are_compared(tmp_path: Path) -> None:
    tiny = "--width 1 --samples 256 --batch-size 32 --epochs 3 --data synthetic --device cpu --json"
    laptime = shutil.which("laptime", path=str(Path(sys.executable).parent))
    assert laptime is not None

    def run(*words: str) -> Any:
        done = subprocess.run(
            [laptime, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, json.loads(done.stdout)

    names = [
        run("train", *tiny.split(), "--num-workers", workers)[1]["run"]["id"] for workers in "10"
    ]
    status, document = run("compare", *names, "--json")

    assert status == 0
    assert (document["verdict"], document["reason"]) == ("inconclusive", "single_runs")
    assert document["differences"] == {
        "settings": {"num_workers": {"a": 1, "b": 0}},
        "environment": {},
    }
    assert document["ratio"] > 0
    sides = document["a"], document["b"]
    assert document["ratio"] == pytest.approx(
        sides[0]["epoch_s"]["estimate"] / sides[1]["epoch_s"]["estimate"]
    )
    assert all(len(side["epochs"]) == 3 for side in sides)
    expected = f"laptime study workers --like {names[1]} --num-workers 0,1"
    assert expected in document["refusals"][0]["next"]
