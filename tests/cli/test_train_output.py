"""What ``laptime train`` and ``laptime list`` print, where, and with which exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from laptime.cli.main import app, status_of
from laptime.store import list_runs

Laptime = Callable[..., int]
Capture = pytest.CaptureFixture[str]

TINY = ["train", "--data=synthetic", "--width=1", "--samples=40", "--batch-size=16", "--epochs=2"]
TINY += ["--num-workers=0", "--device=cpu"]

ROW = re.compile(r"epoch (\d)/2: loss \d+\.\d{3}, top-1 [\d.]+ %, .+ waiting for data")


@pytest.fixture
def laptime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptime:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAPTIME_DATA", raising=False)

    def run(*arguments: str) -> int:
        return status_of(
            lambda: app.main(list(arguments), prog_name="laptime", standalone_mode=False)
        )

    return run


def own_model(body: str) -> str:
    Path("own_net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.linear = torch.nn.Linear(3072, 10)\n"
        "    def forward(self, x):\n"
        f"        {body}\n"
        "        return self.linear(x.flatten(1))\n"
        "def build():\n"
        "    return Net()\n"
    )
    return "own_net.py:build"


def test_json_is_one_document_on_standard_output_and_nothing_else(
    laptime: Laptime, capsys: Capture
) -> None:
    assert laptime(*TINY, "--json") == 0

    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    document = json.loads(out)
    assert document["schema"] == 1
    assert document["run"]["status"] == "completed"
    assert [epoch["epoch"] for epoch in document["epochs"]] == [1, 2]
    for epoch in document["epochs"]:
        assert sum(epoch["phases_ns"].values()) == epoch["wall_ns"]
        parts = epoch["loading_s"] + epoch["training_s"] + epoch["other_s"]
        assert parts == pytest.approx(epoch["total_s"])
    assert document["best"]["samples"] == 40
    assert len(err.splitlines()) == 3


def test_json_stays_one_document_when_the_users_code_prints(
    laptime: Laptime, capsys: Capture
) -> None:
    assert laptime(*TINY, "--model", own_model("print('shape', x.shape)"), "--json") == 0

    out, err = capsys.readouterr()
    assert "shape" in err
    json.loads(out)


def test_a_log_gets_the_runs_place_and_a_line_an_epoch(laptime: Laptime, capsys: Capture) -> None:
    assert laptime(*TINY) == 0

    first, *rows = capsys.readouterr().err.splitlines()
    (run,) = list_runs(Path("runs"))
    assert first == f"resnet18: run {run.path}"
    numbers = [match.group(1) for row in rows if (match := ROW.fullmatch(row))]
    assert numbers == ["1", "2"]
    assert len(rows) == 2


def test_the_report_goes_to_standard_output_and_names_the_record(
    laptime: Laptime, capsys: Capture
) -> None:
    assert laptime(*TINY) == 0

    lines = capsys.readouterr().out.splitlines()
    (run,) = list_runs(Path("runs"))
    assert lines[0].startswith("resnet18, width 1, ")
    assert len([line for line in lines if re.match(r"epoch [12] ", line)]) == 2
    assert lines[-1].startswith(f"Record: {run.path} ")


def test_a_long_log_line_is_not_wrapped(laptime: Laptime, capsys: Capture) -> None:
    folder = "/".join(["a-rather-long-folder-name"] * 6)

    assert laptime(*TINY, "--runs-dir", folder) == 0

    assert folder in capsys.readouterr().err.splitlines()[0]


def test_resuming_a_complete_run_prints_its_record(laptime: Laptime, capsys: Capture) -> None:
    assert laptime(*TINY, "--json") == 0
    trained = json.loads(capsys.readouterr().out)
    (run,) = list_runs(Path("runs"))
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}

    assert laptime("train", "--resume", "--json") == 0

    out, err = capsys.readouterr()
    assert json.loads(out) == trained
    assert err == ""
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    assert laptime("train", "--resume", run.id) == 0
    assert f"Record: {run.path}" in capsys.readouterr().out.splitlines()[-1]


def test_a_complete_run_goes_on_for_more_epochs(laptime: Laptime, capsys: Capture) -> None:
    assert laptime(*TINY) == 0
    capsys.readouterr()

    assert laptime("train", "-r", "--epochs", "3", "--json") == 0

    document = json.loads(capsys.readouterr().out)
    assert [epoch["epoch"] for epoch in document["epochs"]] == [1, 2, 3]
    assert document["run"]["resumed"] == 1


@pytest.mark.parametrize(
    ("body", "given", "status", "ends_as"),
    [
        ("pass", (), 0, "completed"),
        ("pass", ("--lr", "1e6", "--samples", "400"), 1, "diverged"),
        ("assert not self.training, 'mine'", (), 1, "failed"),
        ("torch.empty(2**46) if self.training else None", (), 1, "out_of_memory"),
        ("import os; self.training and os.kill(os.getpid(), 2)", (), 130, "interrupted"),
        ("import os; self.training and os.kill(os.getpid(), 15)", (), 130, "interrupted"),
    ],
)
def test_the_exit_status_says_how_the_run_ended(
    laptime: Laptime,
    capsys: Capture,
    body: str,
    given: tuple[str, ...],
    status: int,
    ends_as: str,
) -> None:
    assert laptime(*TINY, "--model", own_model(body), *given, "--json") == status

    assert json.loads(capsys.readouterr().out)["run"]["status"] == ends_as


def test_a_failed_run_says_where_in_one_line(laptime: Laptime, capsys: Capture) -> None:
    assert laptime(*TINY, "--model", own_model("assert not self.training, 'mine'")) == 1

    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    (line,) = [line for line in out.splitlines() if line.startswith("Failed:")]
    assert "AssertionError: mine" in line
    assert "own_net.py:7)" in line


def test_a_stopped_run_says_how_to_go_on_and_that_works(laptime: Laptime, capsys: Capture) -> None:
    Path("stop").touch()
    spec = own_model(
        "import os; self.training and os.path.exists('stop') and os.kill(os.getpid(), 2)"
    )
    assert laptime(*TINY, "--model", spec) == 130
    out, err = capsys.readouterr()
    assert "Stopping after this step; Ctrl-C again stops at once." in err
    (line,) = [line for line in out.splitlines() if line.startswith("Next:")]
    Path("stop").unlink()

    assert laptime(*line.split()[2:], "--json") == 0

    assert json.loads(capsys.readouterr().out)["run"]["resumed"] == 1


def test_an_error_whose_text_is_no_utf8_is_a_failed_run(laptime: Laptime, capsys: Capture) -> None:
    spec = own_model("assert not self.training, 'caf' + chr(0xdce9)")

    assert laptime(*TINY, "--model", spec, "--json") == 1

    assert json.loads(capsys.readouterr().out)["run"]["status"] == "failed"


def test_a_model_with_lazy_layers_is_trained_or_refused(laptime: Laptime, capsys: Capture) -> None:
    Path("lazy.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))\n"
    )

    assert laptime(*TINY, "--model", "lazy.py:build", "--json") in {0, 2}


def test_without_timing_nothing_is_said_of_waiting(laptime: Laptime, capsys: Capture) -> None:
    assert laptime(*TINY, "--timing", "off") == 0

    assert "waiting for data" not in capsys.readouterr().err


def test_what_the_settings_make_useless_is_said_on_standard_error(
    laptime: Laptime, capsys: Capture
) -> None:
    assert laptime(*TINY, "--pin-memory", "--json") == 0

    out, err = capsys.readouterr()
    assert "--pin-memory does nothing on cpu" in err
    json.loads(out)


def test_list_without_runs_says_what_makes_one(laptime: Laptime, capsys: Capture) -> None:
    assert laptime("list") == 0
    assert capsys.readouterr().out == "No run in runs. `laptime train` makes one.\n"

    assert laptime("list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_list_has_a_row_a_run_with_its_whole_name(laptime: Laptime, capsys: Capture) -> None:
    assert laptime(*TINY) == 0
    assert laptime(*TINY, "--optimizer", "adam", "--lr", "0.001") == 0
    capsys.readouterr()

    assert laptime("list") == 0

    lines = capsys.readouterr().out.splitlines()
    for run in list_runs(Path("runs")):
        (row,) = [line for line in lines if run.id in line]
        optimizer = run.read_settings().optimizer
        assert f" {optimizer.optimizer} {optimizer.lr:g} " in row
        assert "completed" in row
        assert "2/2" in row
    assert max(map(len, lines)) <= 160


def test_list_as_json_is_one_document_with_every_run(laptime: Laptime, capsys: Capture) -> None:
    for _ in range(2):
        assert laptime(*TINY) == 0
    capsys.readouterr()

    assert laptime("list", "--json") == 0

    out, err = capsys.readouterr()
    assert [it["run"]["id"] for it in json.loads(out)] == [
        run.id for run in list_runs(Path("runs"))
    ]
    assert (out.count("\n"), err) == (1, "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("status.json", "{"),
        ("data.json", "{}"),
        ("environment.json", "[]"),
        ("epochs.jsonl", "{}\n"),
        ("settings.json", "[]"),
        ("settings.json", "{}"),
    ],
)
def test_list_passes_over_a_damaged_run_and_shows_the_others(
    laptime: Laptime, capsys: Capture, name: str, content: str
) -> None:
    for _ in range(2):
        assert laptime(*TINY) == 0
    whole, damaged = list_runs(Path("runs"))
    (damaged.path / name).write_text(content)
    capsys.readouterr()

    assert laptime("list") == 0

    out, err = capsys.readouterr()
    assert whole.id in out
    assert (damaged.id in out) != (damaged.id in err)
    assert err.count("\n") <= 1


def test_list_shows_no_share_of_loading_that_was_not_measured(
    laptime: Laptime, capsys: Capture
) -> None:
    assert laptime(*TINY, "--timing", "off") == 0
    capsys.readouterr()

    assert laptime("list") == 0

    (row,) = [line for line in capsys.readouterr().out.splitlines() if "completed" in line]
    assert " 0 %" not in row


@pytest.mark.parametrize("redirection", [">&-", "| head -n 1", "> /dev/full"])
def test_an_output_that_nobody_can_read_is_no_traceback(tmp_path: Path, redirection: str) -> None:
    if "full" in redirection and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = f"{sys.executable} -m laptime train {' '.join(TINY[1:])} {redirection}"

    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True
    )

    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if "full" in redirection else 0)
