from __future__ import annotations

from pathlib import Path

import pytest

from laptime.cli.main import invoke, status_of
from laptime.cli.study import parse_budget, parse_grid, parse_optimizers, parse_turns
from laptime.settings import RunSettings
from laptime.study import StudyRequest
from laptime.study_store import create_study


def refused(words: str, runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must be refused in one line and leave nothing behind."""
    before = sorted(runs_dir.rglob("*"))
    status = status_of(lambda: invoke([*words.split(), "--runs-dir", str(runs_dir)]))
    out, err = capsys.readouterr()

    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert sorted(runs_dir.rglob("*")) == before
    return err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("study workers --num-workers 0,two", "num-workers is '0,two'"),
        ("study workers --num-workers 4,4", "name each count once"),
        ("study workers --num-workers 4", "one count compares nothing"),
        ("study workers --num-workers 0,513", "counts from 0 to 512"),
        ("study workers --blocks 0", "0 is not in the range"),
        ("study workers --turns 1", "turns is '1'"),
        ("study workers --turns 8-4", "turns is '8-4'"),
        ("study workers --budget soon", "budget is 'soon'"),
        ("study workers --timeout 0", "not in the range"),
        ("study workers --like nothing", "nothing"),
        ("study workers --resume nothing", "names no study"),
        ("study workers --resume", "holds no study"),
        ("study workers --width 0", "width is 0"),
        ("study optimizers --optimizers sgd,foo", "arm 'foo' is no optimizer"),
        ("study optimizers --optimizers sgd", "name two or more"),
        ("study optimizers --optimizers sgd,SGD", "name two or more"),
        ("study optimizers --seeds 0", "not in the range"),
        ("study everything", "No such command"),
    ],
)
def test_bad_input_is_one_line_that_says_what_was_wrong(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(words, tmp_path, capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--lr 3", "lr is 3.0, but the study was started with 0.1"),
        ("--num-workers 0,2", "another grid"),
        ("--scale quick", "leave --like and --scale out"),
    ],
)
def test_a_study_is_not_resumed_as_another_one(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_study(tmp_path, StudyRequest(study="workers", settings=RunSettings(), grid=(0, 4)))

    assert said in refused(f"study workers --resume= {words}", tmp_path, capsys)


def test_words_that_people_type_are_understood() -> None:
    assert parse_grid(" 0, 4,16 ") == (0, 4, 16)
    assert parse_optimizers("SGD,sgd-nesterov,adadelata") == ("sgd", "nesterov", "adadelta")
    assert (parse_budget("90"), parse_budget("10m"), parse_budget("1.5h")) == (90.0, 600.0, 5400.0)
    assert (parse_turns("8"), parse_turns("4-24")) == ((8, 8), (4, 24))
