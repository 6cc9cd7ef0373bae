from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.report.scripts import FACTS, STATUS, process, script, write_process, write_script

from laptime.errors import StoreError
from laptime.script import ScriptStatus
from laptime.script_store import (
    ScriptDirectory,
    create_script,
    find_script,
    is_script,
    list_scripts,
    new_script_status,
)
from laptime.store import RunDirectory, is_run, list_runs, new_status

NAME = "2026-01-01T10-00-00_train_aaaaaa"


def content(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_run_is_read_as_it_was_written_and_reading_changes_nothing(tmp_path: Path) -> None:
    written = write_script(NAME, runs_dir=tmp_path)
    before = content(tmp_path)

    record = written.read_record()

    assert record == script(directory=str(written.path))
    assert content(tmp_path) == before


def test_other_processes_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    written = write_script(NAME, runs_dir=tmp_path)
    for number in (10, 2, 1):
        write_process(written.processes / str(number), {"rank": number}, epochs=2)
    (written.processes / "notes").mkdir()
    (written.processes / "3").mkdir()  # claimed by a process that took no step

    record = written.read_record()

    assert [one.recorder.rank for one in record.others] == [1, 2, 10]
    assert record.others[0].epochs == process(epochs=2).epochs


def test_a_command_that_trained_nothing_has_a_record(tmp_path: Path) -> None:
    directory = create_script(tmp_path, "train.py")
    directory.write_status(ScriptStatus.model_validate(STATUS))

    record = directory.read_record()

    assert record.main is None
    assert record.epochs == ()
    assert record.status.command == ("python", "train.py", "--lr", "0.1")


def test_a_new_status_is_of_this_process_here_and_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status = new_script_status(("python", "train.py"), 300)

    assert (status.status, status.steps_asked, status.exit_status) == ("running", 300, None)
    assert status.cwd == str(tmp_path)
    assert status.process == os.getpid()
    assert status.started.endswith("+00:00")


def test_a_command_whose_parent_lives_is_running(tmp_path: Path) -> None:
    directory = create_script(tmp_path, "train")
    directory.write_status(new_script_status(("python", "train.py")))

    assert directory.read_status().status == "running"


@pytest.mark.parametrize("gone", [{"process": 2**22 + 17}, {"process_started_s": 1.0}])
def test_a_run_that_was_killed_without_a_word_is_interrupted(
    tmp_path: Path, gone: dict[str, Any]
) -> None:
    directory = create_script(tmp_path, "train")
    status = new_script_status(("python", "train.py")).model_copy(update=gone)
    directory.write_status(status)
    before = content(tmp_path)

    found = directory.read_record().status
    assert (found.status, found.reason) == ("interrupted", "its process ended without a word")
    assert content(tmp_path) == before


def test_a_run_of_another_host_counts_as_running_while_something_is_written(
    tmp_path: Path,
) -> None:
    directory = create_script(tmp_path, "train")
    there = {"host": "elsewhere.example", "process": 1}
    directory.write_status(new_script_status(("python", "train.py")).model_copy(update=there))
    assert directory.read_status().status == "running"

    for path in directory.path.iterdir():
        os.utime(path, (0, 0))
    assert directory.read_status().status == "interrupted"


def test_a_reason_is_kept_on_one_line_without_escapes(tmp_path: Path) -> None:
    directory = create_script(tmp_path, "train")
    status = {**STATUS, "status": "failed", "reason": "a\x1b[31m\nb"}
    directory.write_status(ScriptStatus.model_validate(status))

    assert directory.read_status().reason == "a [31m b"


def step(number: int, loss: float | None) -> str:
    return json.dumps({"epoch": 1, "step": number, "loss": loss, "samples": None})


@pytest.mark.parametrize(
    ("losses", "lost"),
    [
        ([1.0, 0.5], None),
        ([1.0, None, None], 2),
        ([1.0, None, 0.5], None),  # a step without a loss is no end of all losses
        ([None, None], None),  # none was ever seen: nothing was lost
        ([None, 1.0, None, 1.0, None], 5),
        ([], None),
    ],
)
def test_a_loss_is_lost_where_no_finite_one_follows(
    tmp_path: Path, losses: list[float | None], lost: int | None
) -> None:
    written = write_script(NAME, runs_dir=tmp_path)
    lines = [step(number, loss) for number, loss in enumerate(losses, 1)]
    written.steps.write_text("".join(line + "\n" for line in lines))

    found = written.read_record().lost_loss
    assert (found.step if found else None) == lost


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    written = write_script(NAME, runs_dir=tmp_path)
    for log in (written.epochs, written.windows, written.steps):
        with log.open("a") as file:
            file.write('{"epoch": 9, "st')

    assert written.read_record() == script(directory=str(written.path))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("script.json", "{", "is not JSON"),
        ("script.json", "[]", "is damaged or of another version of laptime"),
        ("script.json", json.dumps({**STATUS, "schema_number": 99}), "a later version of laptime"),
        ("recorder.json", json.dumps({**FACTS, "steps": -1}), "damaged or of another version"),
        ("recorder.json", json.dumps({**FACTS, "schema_number": 99}), "a later version"),
        ("epochs.jsonl", "{}\n", "is damaged in line 1"),
        ("windows.jsonl", "nothing\n", "is damaged in line 1"),
        ("steps.jsonl", '{"loss": null}\n', "is damaged in line 1"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    written = write_script(NAME, runs_dir=tmp_path)
    (written.path / name).write_text(text)

    with pytest.raises(StoreError) as caught:
        written.read_record()
    assert expected in str(caught.value)
    assert NAME in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_says_when_what_and_which(tmp_path: Path) -> None:
    names = [create_script(tmp_path, word).id for word in ("my Train.py", "my Train.py", "???")]

    assert len(set(names)) == 3
    assert names[0].split("_")[1] == "my-train-py"
    assert names[2].split("_")[1] == "script"


def test_scripts_and_runs_of_ours_are_told_apart(tmp_path: Path) -> None:
    write_script(NAME, runs_dir=tmp_path)
    run = RunDirectory(tmp_path / "2026-01-01T11-00-00_resnet18_bbbbbb")
    run.path.mkdir()
    run.write_status(new_status())
    (tmp_path / "something").mkdir()

    assert [found.id for found in list_scripts(tmp_path)] == [NAME]
    assert [found.id for found in list_runs(tmp_path)] == [run.id]
    assert is_script(tmp_path / NAME)
    assert not is_run(tmp_path / NAME)


def test_a_run_is_found_by_path_name_beginning_or_end_and_the_newest_without(
    tmp_path: Path,
) -> None:
    write_script(NAME, runs_dir=tmp_path)
    newer = write_script("2026-01-02T10-00-00_train_bbbbbb", runs_dir=tmp_path)

    for name in (str(tmp_path / NAME), NAME, "2026-01-01", "aaaaaa"):
        assert find_script(tmp_path, name).path == (tmp_path / NAME).resolve()
    assert find_script(tmp_path, None).id == newer.id


@pytest.mark.parametrize(
    ("name", "expected"),
    [("2026", "names 2 runs of scripts"), ("nothing", "names no run of a script")],
)
def test_a_name_that_does_not_mean_one_run_is_refused(
    tmp_path: Path, name: str, expected: str
) -> None:
    write_script(NAME, runs_dir=tmp_path)
    write_script("2026-01-02T10-00-00_train_bbbbbb", runs_dir=tmp_path)

    with pytest.raises(StoreError, match=expected):
        find_script(tmp_path, name)
    with pytest.raises(StoreError, match="holds no run of a script"):
        find_script(tmp_path / "empty", None)


def test_files_of_the_recorder_are_where_it_writes_them(tmp_path: Path) -> None:
    directory = ScriptDirectory(tmp_path / "a")

    logs = (directory.recorder, directory.epochs, directory.windows, directory.steps)
    names = [path.name for path in logs]
    assert names == ["recorder.json", "epochs.jsonl", "windows.jsonl", "steps.jsonl"]
