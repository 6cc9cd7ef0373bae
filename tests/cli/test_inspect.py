"""What ``laptime inspect`` prints, where, and with which exit status."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from laptime.census import Roof
from laptime.cli.inspect import parse_names, parse_shape
from laptime.cli.main import app, status_of
from laptime.errors import SettingsError

Inspect = Callable[..., int]
Capture = pytest.CaptureFixture[str]

NET = """import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(12, 5)
    def forward(self, x):
        print('shape', tuple(x.shape))
        return self.linear(x.flatten(1))
class Table(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(9, 4)
    def forward(self, x):
        return self.table(x)
"""


@pytest.fixture
def inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inspect:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "inspected_net.py").write_text(NET)

    def run(*arguments: str) -> int:
        words = ["inspect", *arguments, "--device=cpu"]
        return status_of(lambda: app.main(words, prog_name="laptime", standalone_mode=False))

    return run


def test_json_is_one_document_with_what_the_lab_asks_for(inspect: Inspect, capsys: Capture) -> None:
    assert inspect("--width=1", "--no-roofs", "--json") == 0

    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    document = json.loads(out)
    assert document["schema"] == 1
    assert document["convolutions"]["total"] == 20
    assert document["convolutions"]["main_path"] == 17
    assert document["convolutions"]["projections"] == 3
    assert document["last_linear"] == {"name": "linear", "in_features": 8, "out_features": 10}
    assert {"trainable", "frozen", "tensors"} <= document["parameters"].keys()
    assert list(document["optimizers"]) == ["sgd", "sgd without momentum", "adam"]
    for found in document["optimizers"].values():
        assert found["gradient_tensors"] == 62
        assert found["gradient_elements"] == document["parameters"]["trainable"]
        assert 0 < found["nonzero_gradients"] <= found["gradient_elements"]
        assert sum(found["state_elements"].values()) >= found["state_total"]
    assert document["flops"] == 2 * document["macs"]
    assert document["layers"][0]["macs"] == document["macs"]
    assert document["memory"]["measured_bytes"] is None
    assert (document["twin"]["norm"], document["roofs"]) == ("none", [])
    assert err == "Counting resnet18 on random samples ...\n"


def test_the_report_names_model_answers_and_roofs(
    inspect: Inspect, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    roof = Roof(what="matrix product", amount=1000, times_ns=(1000,))
    monkeypatch.setattr("laptime.inspection.inspect.measure_roofs", lambda *_: (roof,))

    assert inspect("--width=1", "--norm=none", "--optimizers=all") == 0

    out, _ = capsys.readouterr()
    assert out.startswith("resnet18, width 1, norm none, 2,")
    assert "Q1: 20 convolutions, 17 on the main path and 3 projections." in out
    assert "Before pooling: (8, 4, 4)" in out
    assert "sgd without momentum" in out
    assert "adadelta" in out
    assert re.search(r"^matrix product +1 GFLOP/s +1 GFLOP/s +1$", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 100


def test_what_a_users_model_prints_is_no_part_of_the_document(
    inspect: Inspect, capsys: Capture
) -> None:
    assert inspect("inspected_net.py:Net", "--input=3,2,2", "--no-roofs", "--json") == 0

    out, err = capsys.readouterr()
    document = json.loads(out)
    assert "shape (1, 3, 2, 2)" in err
    assert (document["model"], document["norm"]) == ("inspected_net.py:Net", None)
    assert document["input_shape"] == [3, 2, 2]
    assert document["parameters"]["trainable"] == 12 * 5 + 5
    assert document["macs"] == 12 * 5
    assert document["twin"] is None


def test_a_model_that_reads_whole_numbers_is_given_them(inspect: Inspect, capsys: Capture) -> None:
    model = ("inspected_net.py:Table", "--no-roofs", "--optimizers=sgd")

    assert inspect(*model, "--input=6", "--tokens=9") == 0
    assert "a sample is (6,) of whole numbers below 9" in capsys.readouterr().out
    assert inspect(*model, "--input=6") == 2
    assert "and --tokens N if it reads whole numbers" in capsys.readouterr().err


def test_settings_come_from_a_file_too_and_the_command_line_wins(
    inspect: Inspect, capsys: Capture
) -> None:
    Path("own.toml").write_text('model = "inspected_net.py:Net"\nbatch-size = 7\nmomentum = 0\n')

    assert inspect("--config=own.toml", "--input=12", "--no-roofs", "--json", "--batch-size=9") == 0

    document = json.loads(capsys.readouterr().out)
    assert document["memory"]["batch_size"] == 9
    assert list(document["optimizers"]) == ["sgd", "adam"]


def test_the_model_may_be_named_as_for_training_but_once(inspect: Inspect, capsys: Capture) -> None:
    spec = "inspected_net.py:Net"

    assert inspect("--model", spec, "--input=12", "--no-roofs", "--json") == 0
    assert json.loads(capsys.readouterr().out)["model"] == spec
    assert inspect("resnet18", "--model", spec) == 2
    assert "Leave one of them out" in capsys.readouterr().err


def test_what_is_resnet18s_is_said_to_do_nothing_elsewhere(
    inspect: Inspect, capsys: Capture
) -> None:
    assert inspect("inspected_net.py:Net", "--input=12", "--no-roofs", "--width=4") == 0

    assert "--width does nothing here: it is resnet18's." in capsys.readouterr().err


REFUSED = {
    "an unknown model": (["resnet-18"], "Did you mean resnet18?"),
    "no such file": (["nowhere.py:Net"], "there is no file nowhere.py"),
    "a shape that does not fit": (
        ["inspected_net.py:Net", "--input=5"],
        "does not take values of shape (1, 5) in evaluation mode: RuntimeError",
    ),
    "no shape": (["--input=3,a"], "input is '3,a', but must be the sizes of one sample"),
    "nothing": (["--input=3,0,2"], "a sample of 0 values, but must have 1 to 268,435,456"),
    "too much": (["--input=99999,99999"], "a sample of 9,999,800,001 values"),
    "an unknown optimizer": (["--optimizers=sgd,adm"], "optimizer 'adm' is unknown. Did you mean"),
    "a bad setting": (["--width=0"], "width is 0, but must be 1 or more"),
    "one token": (["--tokens=1"], "Invalid value for '--tokens'"),
    "no such option": (["--epochs=3"], "--epochs is no option"),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_inspected_is_refused_in_one_line_and_status_2(
    inspect: Inspect, capsys: Capture, arguments: list[str], said: str
) -> None:
    assert inspect(*arguments, "--no-roofs") == 2

    out, err = capsys.readouterr()
    last = err.splitlines()[-1]
    assert out == ""
    assert last.startswith("laptime: ")
    assert said in last
    assert len(err.splitlines()) <= 3


def test_a_missing_library_is_refused_with_the_remedy(
    inspect: Inspect, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)

    assert inspect("timm:resnet50", "--no-roofs") == 2

    assert "timm cannot be imported" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "shape"), [("3,32,32", (3, 32, 32)), (" 1 , 28,28", (1, 28, 28)), ("3x8x8", (3, 8, 8))]
)
def test_a_shape_is_sizes_between_commas(text: str, shape: tuple[int, ...]) -> None:
    assert parse_shape(text) == shape


@pytest.mark.parametrize("text", ["", "3,", "-3,2", "3 2", "1,2,3,4,5,6", "3.5", "1e3"])
def test_anything_else_is_no_shape(text: str) -> None:
    with pytest.raises(SettingsError, match="must be the sizes of one sample"):
        parse_shape(text)


def test_names_are_translated_as_people_type_them_and_named_once() -> None:
    assert parse_names("SGD,adam,sgd,sgd_nesterov") == ("sgd", "adam", "nesterov")
    assert parse_names("all") == ("sgd", "nesterov", "adagrad", "adadelta", "adam")
