from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from tests.report.studies import devices_record
from tests.studies.fakes import inspection

from laptime.cli.lab import command_words, parse_parts
from laptime.cli.live_lab import LiveLab, closing_lines, plan_lines, span_words
from laptime.cli.main import invoke, status_of
from laptime.errors import DeviceError, SettingsError
from laptime.lab import QUESTIONS, LabFindings, LabRequest
from laptime.lab_store import LabDirectory, create_lab, list_labs
from laptime.labs import parts as lab
from laptime.labs.parts import Watch
from laptime.settings import RunSettings, build_settings
from laptime.training.listener import Silence
from laptime.training.loop import train

QUICK = build_settings({"width": 8, "samples": 1600, "batch_size": 16, "data": "synthetic"})


def asked(only: str = "Q1", **given: Any) -> LabRequest:
    values = {"settings": QUICK, "scale": "quick", "only": parse_parts(only) if only else ()}
    return LabRequest(**{**values, **given})


def call(words: str, runs_dir: Path) -> int:
    return status_of(lambda: invoke([*shlex.split(words), "--runs-dir", str(runs_dir)]))


def refused(words: str, runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must be refused in one line and leave nothing behind."""
    before = sorted(runs_dir.rglob("*"))
    status = call(words, runs_dir)
    out, err = capsys.readouterr()

    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert sorted(runs_dir.rglob("*")) == before
    return err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("lab --only C9", "only is 'C9', but 'C9' is no part of the lab"),
        ("lab --only ''", "only is ''"),
        ("lab --only C1,,C2", "'' is no part"),
        ("lab --scale half", "Invalid value for '--scale'"),
        ("lab --seeds 0", "0 is not in the range"),
        ("lab --epochs 0", "epochs is 0"),
        ("lab --num-workers many", "num_workers is 'many'"),
        ("lab --width 8", "--width is no option"),
        ("lab --resume", "holds no lab"),
        ("lab --resume nothing", "'nothing' names no lab"),
    ],
)
def test_bad_input_is_one_line_that_says_what_was_wrong(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(words, tmp_path, capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--scale full", "scale is 'full', but the lab was started with 'quick'"),
        ("--seeds 5", "seeds is 5, but the lab was started with 1"),
        ("--only C5", "only is 'C5', but the lab was started with 'Q1 to Q4'"),
        ("--epochs 2", "epochs is 2, but the lab was started with 5"),
        ("--data ./data", "data is './data', but the lab was started with 'synthetic'"),
        ("--device cuda", "device is 'cuda'"),
    ],
)
def test_a_lab_is_not_resumed_as_another_one(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_lab(tmp_path, asked(), "laptime lab")

    assert said in refused(f"lab --resume= {words}", tmp_path, capsys)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "inspect_assigned", lambda settings: inspection())


def test_a_lab_may_be_resumed_with_what_it_was_started_with(
    counted: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_lab(tmp_path, asked(), "laptime lab")

    words = "lab --resume --scale quick --seeds 1 --only q2 --epochs 5 --data synthetic"

    assert call(words, tmp_path) == 0
    assert "Q1 to Q4: What the assigned model is made of" in capsys.readouterr().out


def test_the_output_of_a_part_stands_under_its_question(
    counted: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("lab --scale quick --only Q1 --data synthetic", tmp_path) == 0

    out = capsys.readouterr().out
    (directory,) = list_labs(tmp_path)
    assert out.startswith("Quick scale: width 8 instead of 64, ")
    assert out.index("\nQ1 to Q4: ") < out.index("\nQ1 to Q4: the model as assigned.")
    assert f"\nFolder: {directory.path} (commands.txt, data, " in out
    assert "\nNot fit to hand in: width 8 instead of 64; " in out
    assert "Go on:" not in out


def test_a_lab_that_goes_on_knows_what_its_run_was_trained_on(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = asked("C1,Q1", settings=tiny())
    directory = create_lab(tmp_path, request, "laptime lab")
    train(tiny(), directory.runs, Silence())
    monkeypatch.setattr(lab, "_expected", lambda book, watch: {})

    def again(book: Any, name: str, watch: Watch) -> Any:
        return inspection() if name == "Q1 to Q4" else devices_record()

    monkeypatch.setattr(lab, "_found", again)

    call("lab --resume", tmp_path)

    part, _, _ = capsys.readouterr().out.partition("Q1 to Q4: What")
    assert "data is embedded set, not CIFAR-10.\n" in part


def test_json_is_one_document(
    counted: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("lab --scale quick --only Q1 --data synthetic --json", tmp_path) == 0

    out, err = capsys.readouterr()
    document = json.loads(out)
    assert list(document) == ["lab", "fit_reasons", "sections"]
    assert list(document["sections"]) == ["Q1 to Q4"]
    assert document["lab"]["status"] == "completed"
    assert document["lab"]["command"].startswith("laptime lab --scale quick --only Q1 --data ")
    assert "C5 left out" in document["fit_reasons"]
    assert "Quick scale" in err


def test_a_lab_that_is_stopped_says_how_to_go_on_and_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(settings: RunSettings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "inspect_assigned", stop)

    assert call("lab --scale quick --only Q1 --data synthetic", tmp_path) == 130

    (directory,) = list_labs(tmp_path)
    out = capsys.readouterr().out
    assert out.endswith(f"Go on: laptime lab --resume {directory.path}\n")
    assert (directory.path / "commands.txt").is_file()
    assert directory.read_record().status == "interrupted"


def test_a_part_that_failed_is_a_status_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: RunSettings) -> None:
        raise DeviceError("There is no device. Use --device cpu.")

    monkeypatch.setattr(lab, "inspect_assigned", fail)

    assert call("lab --scale quick --only Q1 --data synthetic", tmp_path) == 1

    out, err = capsys.readouterr()
    assert "Q1 to Q4 failed: There is no device. Use --device cpu.\n" in err
    assert "Q1 to Q4 is failed (There is no device. Use --device cpu.)" in out


def test_what_cannot_begin_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(directory: LabDirectory, watch: Watch) -> bool:
        raise DeviceError("device is 'cuda', but torch finds none. Use --device cpu.")

    monkeypatch.setattr(lab, "run_lab", refuse)

    assert "torch finds none" in refused("lab --scale quick", tmp_path, capsys)


def test_half_of_a_part_names_the_whole() -> None:
    assert parse_parts("c4") == parse_parts("C3,C4") == ("C3, C4",)
    assert parse_parts("Q2 , c2") == ("C1, C2", "Q1 to Q4")
    assert parse_parts(",".join(f"C{n}" for n in range(1, 8)) + ",Q1") == tuple(QUESTIONS)


@pytest.mark.parametrize("text", ["C8", "", "C1,", "workers", "Q1-Q4"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is no part of the lab"):
        parse_parts(text)


def test_the_command_is_what_starts_such_a_lab(tmp_path: Path) -> None:
    given = {"data": "my data", "epochs": 2}
    request = asked("C3,Q4", seeds=5)

    words = command_words(request, given, tmp_path / "r")

    assert words == (
        "laptime lab --scale quick --seeds 5 --only C3,Q1 --data 'my data' --epochs 2 "
        f"--runs-dir {tmp_path}/r"
    )


def planned(tmp_path: Path, *spans: tuple[float, float] | None, only: str = "C5,Q1") -> list[str]:
    record = create_lab(tmp_path, asked(only), "laptime lab").read_record()
    parts = tuple(
        part.model_copy(update={"least_s": span and span[0], "most_s": span and span[1]})
        for part, span in zip(record.parts, spans, strict=True)
    )
    return plan_lines(record.model_copy(update={"parts": parts}))


def test_the_plan_says_what_is_done_and_how_long_it_takes(tmp_path: Path) -> None:
    head, *rows, end = planned(tmp_path, (33.0, 33.0), (5.0, 5.0))

    assert "`laptime lab --scale full` is the assignment" in head
    assert rows[0].startswith("C5        each device that is found in 5 blocks")
    assert [row.split("  ")[-1] for row in rows] == ["about 35 s", "about 5 s"]
    assert end.startswith("In all about 40 s. ")
    assert end.endswith("leave blocks out rather than take it beyond 1 min.")


def test_a_plan_with_room_for_turns_says_a_range(tmp_path: Path) -> None:
    *_, row, _, end = planned(tmp_path, (600.0, 2000.0), (5.0, 5.0))

    assert row.endswith("10 min to 33 min")
    assert end.startswith("In all 10 min to 33 min. ")


def test_a_length_that_is_not_known_is_said(tmp_path: Path) -> None:
    *_, row, _, end = planned(tmp_path, None, (5.0, 5.0))

    assert row.endswith("not known how long")
    assert end == "How long it takes in all is not known: the first look ended early."


def test_full_scale_is_announced_as_the_assignment(tmp_path: Path) -> None:
    request = asked("", settings=RunSettings(), scale="full")
    lines = plan_lines(create_lab(tmp_path, request, "laptime lab").read_record())

    assert lines[0] == "Full scale: the assignment as stated."
    assert "0, 1, 2, 4, 8, 12, 16 workers in 5 blocks" in lines[2]
    assert "5 training runs" in lines[4]
    assert "1 training run" in lines[5]


def test_a_plan_of_what_is_missing_leaves_out_what_is_done(tmp_path: Path) -> None:
    record = create_lab(tmp_path, asked("C5,Q1"), "laptime lab").read_record()
    changes = [
        {"least_s": 60.0, "most_s": 60.0, "status": "completed", "wall_s": 51.0},
        {"least_s": 5.0, "most_s": 5.0, "status": "interrupted", "wall_s": 1.0},
    ]
    parts = tuple(
        part.model_copy(update=change) for part, change in zip(record.parts, changes, strict=True)
    )

    *_, first, second, end = plan_lines(record.model_copy(update={"parts": parts}))

    assert first.endswith("done, in 51 s")
    assert second.endswith("about 5 s, interrupted before")
    assert end == "What is missing takes about 5 s."


def test_the_end_says_how_long_it_took_against_what_was_said(tmp_path: Path) -> None:
    directory = create_lab(tmp_path, asked(), "laptime lab")
    record = directory.read_record()
    spans = {"least_s": 100.0, "most_s": 100.0, "status": "completed"}
    part = record.parts[0].model_copy(update=spans)
    record = record.model_copy(update={"parts": (part,), "wall_s": 123.0})

    lines = closing_lines(LabFindings(record, None, {}, None, ()), directory.path)

    assert lines == [
        f"Report: {directory.path / 'report.html'}",
        f"Folder: {directory.path} (lab.json, runs)",
        "It took 2 min 03 s; about 1 min 40 s was said.",
        "As assigned, on CIFAR-10: fit to hand in.",
    ]


@pytest.mark.parametrize(
    ("value_s", "said"),
    [
        (0.2, "1 s"),
        (7.4, "7 s"),
        (33.0, "35 s"),
        (58.0, "1 min"),
        (203.0, "3 min 20 s"),
        (1234.0, "21 min"),
        (7200.0, "2 h 00 min"),
    ],
)
def test_a_prediction_is_no_finer_than_it_is(value_s: float, said: str) -> None:
    assert span_words(value_s, value_s) == f"about {said}"


def test_what_a_part_says_of_itself_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = create_lab(tmp_path, asked(), "laptime lab").read_record()
    shown = LiveLab(streamed=False, json=False)
    shown.planned(record)
    bad = {"status": "failed", "reason": "a\nb\x1b[31m"}

    shown.part_ended(record.parts[0].model_copy(update=bad), None)

    assert capsys.readouterr().err == "Q1 to Q4 failed: a b [31m\n"
