from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from tests.report.studies import batchnorm_record, devices_record, optimizers_record, workers_record
from tests.studies.fakes import inspection

from laptime.cli.main import app
from laptime.lab import LabFindings, LabRequest
from laptime.lab_store import LabDirectory, create_lab
from laptime.labs.handin import render_commands, write_hand_in
from laptime.labs.handin_tables import epoch_rows, render_csv, step_rows, study_rows
from laptime.record import RunRecord
from laptime.settings import RunSettings
from laptime.store import RunDirectory
from laptime.training.listener import Silence
from laptime.training.loop import train


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def made(tmp_path: Path, settings: RunSettings, **given: Any) -> tuple[LabDirectory, LabFindings]:
    """Return a lab all of whose parts have been done; its studies are made up."""
    request = LabRequest(settings=settings, scale="quick", **given)
    directory = create_lab(tmp_path, request, "laptime lab --scale quick")
    run = train(settings, directory.runs, Silence())
    studies = {
        "workers": workers_record(),
        "devices": devices_record(),
        "optimizers": optimizers_record(),
        "batchnorm": batchnorm_record(),
    }
    return directory, LabFindings(directory.read_record(), run, studies, inspection(), ())


@pytest.fixture
def whole(tiny: Any, tmp_path: Path) -> tuple[LabDirectory, LabFindings]:
    return made(tmp_path, tiny(samples=40))


def test_the_folder_is_complete(whole: tuple[LabDirectory, LabFindings]) -> None:
    directory, findings = whole

    written = write_hand_in(directory, findings)

    names = {path.relative_to(directory.path).as_posix() for path in written.paths}
    assert names == {
        *("train_plain.py", "commands.txt", "environment.json"),
        *("data/C1-C2.json", "data/C3-C4.json", "data/C5.json", "data/C6.json", "data/C7.json"),
        *("data/Q1-Q4.json", "data/epochs.csv", "data/steps.csv", "data/workers.csv"),
        *("data/devices.csv", "data/optimizers.csv", "data/batchnorm.csv"),
    }
    assert all(path.stat().st_size for path in written.paths)
    assert written.notes == ()


def test_what_is_written_again_is_the_same(whole: tuple[LabDirectory, LabFindings]) -> None:
    directory, findings = whole
    before = {path: path.read_bytes() for path in write_hand_in(directory, findings).paths}

    assert {p: p.read_bytes() for p in write_hand_in(directory, findings).paths} == before


def test_a_lab_of_which_little_is_there_leaves_what_there_is(tiny: Any, tmp_path: Path) -> None:
    request = LabRequest(settings=tiny(), scale="quick", only=("C1, C2", "C5"))
    directory = create_lab(tmp_path, request, "laptime lab")
    findings = LabFindings(directory.read_record(), None, {}, None, ())

    written = write_hand_in(directory, findings)

    assert [path.name for path in written.paths] == ["train_plain.py", "commands.txt"]


def test_the_script_has_the_settings_of_the_lab(whole: tuple[LabDirectory, LabFindings]) -> None:
    directory, findings = whole
    write_hand_in(directory, findings)

    script = (directory.path / "train_plain.py").read_text()

    compile(script, "train_plain.py", "exec")
    assert "WIDTH = 1\n" in script
    assert "laptime" not in "".join(
        line for line in script.splitlines() if line.startswith(("import", "from"))
    )


def test_a_training_without_a_plain_script_says_so(tmp_path: Path, tiny: Any) -> None:
    factory = tmp_path / "own.py"
    factory.write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\n\n\ndef build():\n"
        "    return TensorDataset(torch.zeros(8, 3, 32, 32), torch.zeros(8, dtype=torch.int64))\n"
    )
    directory = create_lab(
        tmp_path, LabRequest(settings=tiny(data=f"{factory}:build", samples=8), scale="quick"), ""
    )
    findings = LabFindings(directory.read_record(), None, {}, None, ())

    written = write_hand_in(directory, findings)

    (note,) = written.notes
    assert note.startswith("No train_plain.py: data is")
    assert not (directory.path / "train_plain.py").exists()


def test_an_epoch_is_a_row_with_its_columns_in_seconds(
    whole: tuple[LabDirectory, LabFindings],
) -> None:
    run = whole[1].run
    assert run is not None

    rows = table(render_csv(epoch_rows(run)))

    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row, epoch in zip(rows, run.epochs, strict=True):
        parts = [float(row[name]) for name in ("loading_s", "training_s", "other_s")]
        assert sum(parts) == pytest.approx(float(row["total_s"]))
        assert float(row["loss_nats"]) == epoch.loss
        assert float(row["top1_fraction"]) == epoch.correct / 40
    assert [row["cold"] for row in rows] == ["true", "false"]


def test_times_that_were_not_taken_are_empty(whole: tuple[LabDirectory, LabFindings]) -> None:
    run = whole[1].run
    assert run is not None
    epoch = run.epochs[0].model_copy(update={"mode": "off", "loss": None})

    (row,) = table(render_csv(epoch_rows(run.model_copy(update={"epochs": (epoch,)}))))

    assert (row["loading_s"], row["training_s"], row["loss_nats"]) == ("", "", "")
    assert float(row["total_s"]) > 0


def test_a_step_is_a_row(whole: tuple[LabDirectory, LabFindings]) -> None:
    run = whole[1].run
    assert run is not None
    steps = RunDirectory(Path(run.directory)).read_steps()

    rows = table(render_csv(step_rows(steps)))

    assert len(rows) == 6
    assert [(row["epoch"], row["step"], row["samples"]) for row in rows[:3]] == [
        ("1", "1", "16"), ("1", "2", "16"), ("1", "3", "8"),
    ]  # fmt: skip
    assert float(rows[2]["top1_fraction"]) == int(rows[2]["correct_samples"]) / 8


def test_every_process_of_every_arm_is_a_row() -> None:
    record = workers_record()
    record = record.model_copy(update={"fresh_arms": record.arms[:2]})

    rows = table(render_csv(study_rows(record)))

    arms = (*record.arms, *record.fresh_arms)
    assert len(rows) == sum(len(arm.replicates) + len(arm.trained) for arm in arms)
    first, replicate = rows[0], record.arms[0].replicates[0]
    assert (first["stage"], first["arm"], first["kind"]) == ("main", record.arms[0].name, "timing")
    assert float(first["epoch_s"]) == replicate.epoch_s
    assert first["block"] == "1"
    assert {row["stage"] for row in rows} == {"main", "fresh"}


def test_training_runs_have_their_seed_loss_and_accuracy() -> None:
    record = optimizers_record()

    rows = [row for row in table(render_csv(study_rows(record))) if row["kind"] == "accuracy"]

    run = record.arms[0].trained[0]
    assert run.last is not None
    assert (rows[0]["optimizer"], rows[0]["seed"], rows[0]["block"]) == ("sgd", str(run.seed), "")
    assert float(rows[0]["loss_nats"]) == run.last.loss
    assert float(rows[0]["top1_fraction"]) == run.last.accuracy
    assert float(rows[0]["wall_s"]) == run.wall_ns / 1e9


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1+1", "|calc", "%0A"]
)
def test_a_spreadsheet_is_given_no_formula(text: str) -> None:
    (row,) = table(render_csv([{"reason": text, "step": -1, "loss_nats": -0.5}]))

    assert row["reason"].startswith("'")
    assert (row["step"], row["loss_nats"]) == ("-1", "-0.5")


def test_text_stays_in_its_cell() -> None:
    (row,) = table(render_csv([{"reason": 'a, "b"\nc\x1b[31m', "status": "failed"}]))

    assert row == {"reason": 'a, "b" c [31m', "status": "failed"}


def commands(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("laptime ")]


def test_every_command_is_one_that_laptime_takes(whole: tuple[LabDirectory, LabFindings]) -> None:
    directory, findings = whole

    lines = commands(render_commands(directory, findings))

    assert len(lines) == 8
    for line in lines:
        verb, *arguments = shlex.split(line)[1:]
        command = app.get_command(click.Context(app), verb)
        assert command is not None
        if isinstance(command, click.Group):
            command = command.commands[arguments.pop(0)]
        command.make_context(verb, arguments)  # raises for an option that is not there


def test_the_commands_say_what_the_parts_did(whole: tuple[LabDirectory, LabFindings]) -> None:
    text = render_commands(*whole)

    assert "\nlaptime lab --scale quick\n" in text
    assert "\n# C1, C2\nlaptime train --width 1 " in text
    assert "laptime study workers --like" in text
    assert " --num-workers 0,1,2 --turns 4" in text
    assert "\nlaptime study optimizers --scale quick --seeds 1 --turns 4" in text
    assert f"laptime lab --resume {whole[0].path}\n" in text


def test_the_data_of_a_part_are_its_documents(whole: tuple[LabDirectory, LabFindings]) -> None:
    directory, findings = whole
    write_hand_in(directory, findings)
    run = findings.run
    assert isinstance(run, RunRecord)

    def read(name: str) -> Any:
        return json.loads((directory.path / name).read_text())

    assert read("data/C1-C2.json") == json.loads(json.dumps(run.document()))
    assert read("data/C6.json")["study"] == "optimizers"
    assert read("environment.json")["torch"] == run.environment.torch
