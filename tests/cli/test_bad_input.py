"""Whatever is wrong with the input: one line, exit status 2, nothing written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from laptime.cli.main import app, status_of

TINY = (
    "train --width 1 --samples 32 --batch-size 16 --epochs 1 --num-workers 0 --device cpu".split()
)


@pytest.fixture
def laptime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAPTIME_DATA", raising=False)

    def run(*arguments: str) -> int:
        return status_of(
            lambda: app.main(list(arguments), prog_name="laptime", standalone_mode=False)
        )

    return run


def refused(capsys: pytest.CaptureFixture[str], status: int, *expected: str) -> None:
    out, err = capsys.readouterr()
    assert status == 2, (out, err)
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("laptime: ")
    assert err.rstrip().endswith((".", "?", "`")), err
    for words in expected:
        assert words in err
    assert not list(Path().glob("runs/*")), "a refused run left something behind"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--optimizer sgdd", "optimizer is 'sgdd', which is unknown. Did you mean sgd?"),
        ("--model resnet19", "model is 'resnet19', which is unknown. Did you mean resnet18?"),
        ("--device tpu", "device is 'tpu'"),
        ("--device cuda", "device is 'cuda', but torch finds no CUDA device. Use --device cpu."),
        ("--device cuda:7", "'cuda:7'"),
        ("--gpu --device cpu", "device is 'cpu', but --gpu means 'cuda'"),
        ("--device mps", "no Apple GPU"),
        ("--preset slow", "'slow' is not one of 'lab', 'fast'"),
        ("--preset fast --resume", "preset is 'fast', but --resume goes on with a run's own"),
        ("--fused --optimizer adadelta", "adadelta has no fused form. Leave --fused out."),
        ("--threads 0", "threads is 0, but must be 1 or more."),
        ("--precision tf32", "precision is 'tf32', but cpu does not have it"),
        ("--timing events", "timing is 'events', but cpu has no events"),
        ("--num-workers -1", "num_workers is -1, but must be 0 or more."),
        ("--num-workers 100000", "must be 512 or less"),
        ("--batch-size 0", "batch_size is 0, but must be 1 or more."),
        ("--epochs 1e99", "epochs is 1e99, but must be a whole number."),
        ("--lr nan", "lr is nan, but must be a finite number."),
        ("--lr -1", "lr is -1, but must be 0 or more."),
        ("--samples 50001", "samples is 50,001, but the training set has 50,000."),
        ("--width 0", "width is 0, but must be 1 or more."),
        ("--seed 99999999999999999999", "seed is 99999999999999999999"),
        ("--evaluate maybe", "evaluate is 'maybe', but must be true or false."),
        ("--data nowhere", "data is 'nowhere'"),
        ("--data cifar10", "laptime data cifar10"),
        ("--data no_such_module:build", "no_such_module"),
        ("--model nofile.py:build", "nofile.py"),
        ("--model os:getcwd", "returned str, but must return a torch.nn.Module"),
        ("--nm 3", "--nm is no option. Did you mean --norm?"),
        ("--lr", "requires an argument"),
        ("--config none.toml", "config none.toml cannot be read"),
        ("--resume", "holds no run to resume"),
        ("--resume nothing", "holds no run to resume"),
        ("surplus", "unexpected extra argument (surplus)"),
    ],
)
def test_a_bad_word_is_one_line_and_exit_status_2(
    laptime: Any, capsys: pytest.CaptureFixture[str], given: str, expected: str
) -> None:
    refused(capsys, laptime(*TINY, *given.split()), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "optimiser = 'sgd'",
            "has the key 'optimiser', which is no setting. Did you mean optimizer?",
        ),
        ("lr = ", "is not TOML"),
        ("lr = 'high'", "lr is 'high', but must be a number."),
        ("lr = nan", "lr is nan, but must be a finite number."),
        ("epochs = true", "epochs is true, which is no value of it"),
        ("[optimizer]\nlr = 0.1", "optimizer is"),
        ("num_workers = [1, 2]", "num_workers is"),
        ("\x00", "is not TOML"),
        ("a = " + "[" * 10_000, "is not TOML"),
    ],
)
def test_a_bad_file_of_settings_is_refused(
    laptime: Any, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    Path("bad.toml").write_text(text)

    # Shorter than TINY: what stands on the command line would win over the file.
    refused(capsys, laptime("train", "--config", "bad.toml"), expected)


def test_settings_come_from_the_file_and_the_command_line_wins(
    laptime: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    Path("good.toml").write_text('optimizer = "adam"\nlr = 0.5\nnum-workers = 0\n')

    assert laptime(*TINY, "--config", "good.toml", "--lr", "0.01", "--json") == 0

    settings = json.loads(capsys.readouterr().out)["settings"]
    assert (settings["optimizer"], settings["lr"]) == ("adam", 0.01)


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ("--workers 1", "num_workers", 1),
        ("--num_workers 1", "num_workers", 1),
        ("--epoch 2", "epochs", 2),
        ("--optimizer SGD", "optimizer", "sgd"),
        ("--optimizer sgd-nesterov", "optimizer", "nesterov"),
        ("--optimizer sgd_nesterov", "optimizer", "nesterov"),
        ("--optimizer adadelata", "optimizer", "adadelta"),
        ("--disable_batch_norm", "norm", "none"),
        ("--disable-batch-norm", "norm", "none"),
        ("--persistent-workers True", "persistent_workers", True),
        ("--channels-last", "channels_last", True),
        ("--channels-last false", "channels_last", False),
        ("--lr 0.5 --lr 0.25", "lr", 0.25),
    ],
)
def test_words_that_people_type_are_understood(
    laptime: Any, capsys: pytest.CaptureFixture[str], given: str, name: str, value: object
) -> None:
    import json

    assert laptime(*TINY, *given.split(), "--json") == 0

    assert json.loads(capsys.readouterr().out)["settings"][name] == value


@pytest.mark.parametrize(
    "body",
    [
        "raise RuntimeError('broken')",
        "return None",
        "return []",
        "return 3",
        "return 'text'",
        "import sys; sys.exit(0)",
        "return [('x', 0)] * 4",
        "return [(torch.zeros(3), 0), (torch.zeros(4), 0)]",
        "return [torch.zeros(3)] * 4",
        "return iter([1, 2])",
        "return [(torch.zeros(3, 32, 32), -1)] * 4",
        "return [(torch.zeros(3, 32, 32), 0.5)] * 4",
        "return [(0, 0)], [(0, 0)], [(0, 0)]",
    ],
)
def test_a_data_factory_that_is_wrong_is_one_line(
    laptime: Any, capsys: pytest.CaptureFixture[str], body: str
) -> None:
    Path("mine.py").write_text(f"import torch\ndef build():\n    {body}\n")

    status = laptime("train", "--data", "mine.py:build", "--num-workers", "0", "--width", "1")

    refused(capsys, status)


def test_one_of_many_processes_is_refused(
    laptime: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")

    refused(capsys, laptime(*TINY), "WORLD_SIZE is 2", "Start it without torchrun")


def test_a_read_only_directory_for_runs_is_refused(
    laptime: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if os.geteuid() == 0:
        (tmp_path / "file").write_text("")
        directory = "file/runs"  # root may write anywhere but into a file
    else:
        (tmp_path / "closed").mkdir(mode=0o500)
        directory = "closed/runs"

    refused(capsys, laptime(*TINY, "--runs-dir", directory), "--runs-dir")


def test_resuming_with_other_settings_is_refused(
    laptime: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert laptime(*TINY, "--runs-dir", "kept") == 0
    capsys.readouterr()

    status = laptime(*TINY, "--runs-dir", "kept", "--resume", "--lr", "3")

    refused(capsys, status, "lr is 3.0, but", "was started with 0.1")


def test_a_damaged_run_is_refused_and_listed_around(
    laptime: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert laptime(*TINY, "--runs-dir", "kept") == 0
    (run,) = Path("kept").iterdir()
    (run / "status.json").write_text("{")
    capsys.readouterr()

    refused(capsys, laptime("train", "--resume", "--runs-dir", "kept"), "is not JSON")
    assert laptime("list", "--runs-dir", "kept") == 0
    assert "passed over" in capsys.readouterr().err


def test_a_nan_loss_is_exit_status_1_with_the_epoch_kept(
    laptime: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    status = laptime(*TINY, "--lr", "1e6", "--norm", "none", "--samples", "200", "--json")

    document = json.loads(capsys.readouterr().out)
    assert status == 1
    assert document["run"]["status"] == "diverged"
    assert document["epochs"][0]["loss"] is None


def test_an_unknown_verb_is_one_line(laptime: Any, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, laptime("trian"), "trian", "laptime --help")
