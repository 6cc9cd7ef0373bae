from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import laptime
from laptime.launch.recorded import recorder_environment
from laptime.phase import Phase
from laptime.script_store import ScriptDirectory, create_script, list_scripts

HERE = Path(__file__).parent

EPOCH_MS = {
    "loader_start": 2,
    "data_wait": 6,
    "forward": 20,
    "evaluation": 8 + 5,
    "checkpoint": 20,
    "logging": 3,
    "other": 8,
}
"""What the usual loop of loops.py spends in an epoch of four steps."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory in which every loop of loops.py has recorded itself."""
    return tmp_path_factory.mktemp("door") / "runs"


@pytest.fixture(scope="module")
def ran(runs: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "loops.py", str(runs)],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def told(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what the loops told about their records."""
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_a_loop_is_divided_as_it_spends_its_time(told: dict[str, Any]) -> None:
    first, second = told["whole_loop"]["epochs"]

    assert first["ms"] == second["ms"] == EPOCH_MS
    assert first["steps"] == second["steps"] == 4
    assert first["samples"] == 8
    assert first["complete"]
    assert first["evaluations"] == 1
    assert first["loss"] is not None


def test_facts_name_the_lines_of_the_loop(told: dict[str, Any]) -> None:
    facts = told["whole_loop"]["facts"]

    (evaluation,) = facts["evaluations"]
    assert evaluation["passes"] == 2
    assert evaluation["place"]["text"].startswith("loops.py:")
    assert [row["steps"] for row in facts["optimizers"] if row["steps"]] == [8]
    assert facts["missing"] == []
    assert "opened within the script" in facts["notes"][0]


def test_what_was_made_before_the_ledger_is_found_without_a_word(told: dict[str, Any]) -> None:
    (epoch,) = told["made_before"]["epochs"]

    assert epoch["ms"] == {"loader_start": 4, "data_wait": 4, "forward": 10}
    assert told["made_before"]["facts"]["roots"][0]["class"] == "Net"


def test_batches_of_the_loops_own_are_loading(told: dict[str, Any]) -> None:
    first, second = told["own_batches"]["epochs"]

    assert first["ms"] == second["ms"]
    assert [first["ms"][p] for p in ("loader_start", "data_wait", "loader_end")] == [4, 8, 1]
    assert first["loader"] == second["loader"]
    assert first["samples"] is None  # nobody says what a batch of it holds


def test_a_source_of_batches_has_its_length(told: dict[str, Any]) -> None:
    found = told["list_of_batches"]
    loader = found["facts"]["loaders"][found["epochs"][0]["loader"]]

    assert found["length"] == 3
    assert (loader["class"], loader["batches"], loader["iterable"]) == ("list", 3, False)


def test_a_loop_without_torchs_optimizers_says_its_steps(told: dict[str, Any]) -> None:
    first, second = told["own_updates"]["epochs"]

    assert first["ms"] == {"forward": 18, "backward": 21, "optimizer": 3, "other": 6}
    assert first["loader"] == second["loader"]
    (updates,) = [row for row in told["own_updates"]["facts"]["optimizers"] if row["steps"]]
    assert (updates["class"], updates["steps"]) == ("step()", 6)
    assert updates["stepped_at"]["text"].startswith("loops.py:")


def test_without_a_loader_training_begins_at_the_first_part(told: dict[str, Any]) -> None:
    (epoch,) = told["no_loader"]["epochs"]

    assert epoch["ms"] == {"data_wait": 12, "forward": 24}
    assert told["no_loader"]["facts"]["setup_ns"] == 50_000_000


def test_parts_nest_and_an_evaluation_keeps_all_that_is_in_it(told: dict[str, Any]) -> None:
    (epoch,) = told["nested_parts"]["epochs"]

    assert epoch["ms"] == {"forward": 6, "other": 1, "evaluation": 6, "sync": 9}


def test_phases_sum_to_the_wall_in_every_loop(told: dict[str, Any]) -> None:
    epochs = [e for found in told.values() if "epochs" in found for e in found["epochs"]]

    assert len(epochs) > 10
    for epoch in epochs:
        assert set(epoch["phases_ns"]) == {phase.value for phase in Phase}
        assert sum(epoch["phases_ns"].values()) == epoch["wall_ns"]
        assert min(epoch["phases_ns"].values()) >= 0


@pytest.mark.parametrize(
    ("loop", "status", "reason"),
    [
        ("whole_loop", "completed", None),
        ("raised", "failed", "ValueError: first line second [31mline"),
        ("interrupted", "interrupted", "KeyboardInterrupt"),
        ("left", "completed", None),
        ("source_that_raises", "failed", "OSError: torn"),
    ],
)
def test_a_run_says_how_it_ended(
    told: dict[str, Any], loop: str, status: str, reason: str | None
) -> None:
    found = told[loop]["status"]

    assert (found["status"], found["reason"]) == (status, reason)


def test_an_error_of_the_loop_comes_out_as_it_was(told: dict[str, Any]) -> None:
    assert told["raised"]["error"] == "first line\nsecond \x1b[31mline"
    assert told["raised"]["epochs"][0]["ms"] == EPOCH_MS


def test_a_second_ledger_at_a_time_is_refused(told: dict[str, Any]) -> None:
    (error,) = told["two_at_once"]

    assert error.startswith("a ledger is open already (")
    assert error.endswith("Close it first: a process has one at a time.")


def test_an_unknown_phase_is_refused_with_those_that_there_are(told: dict[str, Any]) -> None:
    assert told["unknown_phase"].startswith("phase is 'forwards', but must be one of loader_start,")


def test_a_place_that_cannot_be_written_is_one_line_with_the_remedy(told: dict[str, Any]) -> None:
    assert "cannot be written: Not a directory. Name another directory" in told["unwritable"]


def test_ledgers_one_after_another_know_nothing_of_each_other(told: dict[str, Any]) -> None:
    again, first = told["again"], told["whole_loop"]

    assert [epoch["ms"] for epoch in again["epochs"]] == [EPOCH_MS, EPOCH_MS]
    assert [row["steps"] for row in again["facts"]["optimizers"] if row["steps"]] == [8]
    assert again["facts"]["evaluations"] == first["facts"]["evaluations"]
    assert again["id"] != first["id"]


def test_training_after_the_end_is_not_recorded(told: dict[str, Any]) -> None:
    assert told["after_the_end"]["after"] == told["after_the_end"]["before"]


def test_other_threads_are_not_recorded(told: dict[str, Any]) -> None:
    (epoch,) = told["other_threads"]["epochs"]

    assert epoch["steps"] == 2
    assert epoch["ms"]["forward"] == 10


def test_an_epoch_that_is_left_is_not_complete(told: dict[str, Any]) -> None:
    epochs = told["loop_that_is_left"]["epochs"]

    assert [(e["steps"], e["complete"]) for e in epochs] == [(2, False)] * 3
    assert {e["loader"] for e in epochs} == {epochs[0]["loader"]}


def test_a_child_that_leaves_the_loop_ends_nothing(
    told: dict[str, Any], ran: subprocess.CompletedProcess[str]
) -> None:
    found = told["forked"]

    assert found["status"]["status"] == "completed"
    assert [epoch["steps"] for epoch in found["epochs"]] == [3, 3]
    assert ran.stderr.count(found["id"]) == 1


def test_of_several_processes_the_first_is_recorded(told: dict[str, Any]) -> None:
    assert told["second_rank"] == {"directory": None, "new": 0}


def test_every_record_reads_as_one_of_laptime_run(told: dict[str, Any], runs: Path) -> None:
    records = [directory.read_record() for directory in list_scripts(runs)]

    assert len(records) == len({record.id for record in records}) > 12
    by_id = {record.id: record for record in records}
    record = by_id[told["whole_loop"]["id"]]
    assert record.id.split("_")[1] == "whole-loop"
    assert record.status.status == "completed"
    assert [epoch.steps for epoch in record.epochs] == [4, 4]


def test_the_end_prints_where_the_record_is(
    told: dict[str, Any], ran: subprocess.CompletedProcess[str], runs: Path
) -> None:
    lines = ran.stderr.splitlines()

    assert f"laptime: recorded 8 steps in 2 epochs: laptime report {runs}/" in lines[1]
    assert all(line.startswith("laptime: ") for line in lines)
    assert sum("no optimizer took a step" in line for line in lines) == 2


def test_a_ledger_needs_the_standard_library_and_torch_alone(told: dict[str, Any]) -> None:
    foreign = {"pydantic", "numpy", "click", "rich", "psutil", "scipy"}

    assert not foreign & {name.split(".")[0] for name in told["imported"]}
    assert "laptime.door" in told["imported"]


IN_A_COMMAND = """
import torch
from laptime import door
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
ledger = door.ledger("elsewhere")
ledger.open()
for x in ledger.loading([torch.ones(1, 2)] * 3):
    with ledger.phase("forward"):
        loss = model(x).sum()
    loss.backward()
    optimizer.step()
{last}
"""


def run_alone(folder: Path, last: str, **options: Any) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(IN_A_COMMAND.format(last=last))
    return subprocess.run(
        [sys.executable, "train.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_under_laptime_run_the_ledger_adds_to_the_run_of_the_command(tmp_path: Path) -> None:
    directory = create_script(tmp_path / "runs", "train")

    ran = run_alone(tmp_path, "ledger.close()", env=recorder_environment(directory.path))

    assert (ran.returncode, ran.stderr) == (0, "")
    assert not (tmp_path / "elsewhere").exists()
    (row,) = (directory.path / "epochs.jsonl").read_text().splitlines()
    epoch = json.loads(row)
    assert epoch["steps"] == 3
    assert epoch["loader"] is not None


def test_a_ledger_that_is_not_closed_ends_with_its_process(tmp_path: Path) -> None:
    ran = run_alone(tmp_path, "raise RuntimeError('in the loop')")

    assert ran.returncode == 1
    assert "RuntimeError: in the loop" in ran.stderr
    assert "laptime: recorded 3 steps in 1 epoch" in ran.stderr
    (directory,) = (tmp_path / "elsewhere").iterdir()
    record = ScriptDirectory(directory).read_record()
    assert record.status.status == "interrupted"
    assert record.status.reason == "the process ended before the ledger was closed"
    assert record.epochs[0].steps == 3


def test_a_ledger_is_a_public_name() -> None:
    assert callable(laptime.ledger)
