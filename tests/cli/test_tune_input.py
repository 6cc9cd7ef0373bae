from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from laptime.cli.main import invoke, status_of
from laptime.cli.tune import request_from
from laptime.cli.tune import status_of as exit_of


def refused(
    words: list[str],
    runs_dir: Path,
    capsys: pytest.CaptureFixture[str],
    status: int = 2,
    *,
    begins: bool = False,
) -> str:
    """Run a command that must be refused in one line and leave nothing behind."""
    given = ["tune", "--runs-dir", str(runs_dir), *words]
    assert status_of(lambda: invoke(given)) == status
    out, err = capsys.readouterr()

    assert out == ""
    *before, line = err.splitlines()
    assert [line.startswith("A first look at ") for line in before] == [True] * begins
    assert not list(runs_dir.iterdir())
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-- no-such-command-anywhere", "'no-such-command-anywhere' is no command"),
        ("-- missing.py", "'missing.py' is no file"),
        ("--budget soon -- python x.py", "budget is 'soon'"),
        ("--blocks 0 -- python x.py", "0 is not in the range"),
        ("--width 8 -- python x.py", "--width is a setting of the built-in job"),
        ("--scale quick -- python x.py", "--scale is a setting of the built-in job"),
        ("--only workers -- python x.py", "Did you mean num_workers"),
        ("--only gc", "only is 'gc', which is no override"),
        ("--apply", "name its command after --"),
        ("--width 0", "width is 0"),
    ],
)
def test_bad_input_is_one_line_that_says_what_was_wrong(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [sys.executable if word == "python" else word for word in words.split()]

    assert said in refused(given, tmp_path, capsys)


@pytest.mark.parametrize(
    ("code", "said", "status"),
    [
        ("print('done')", "none of its Python processes imported torch", 3),
        ("raise SystemExit(4)", "fails by itself: its process ended with status 4", 1),
    ],
)
def test_a_command_that_does_not_train_is_one_line(
    code: str, said: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(
        ["--", sys.executable, "-c", code], tmp_path, capsys, status, begins=True
    )


def test_python_that_lets_nobody_in_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(["--", sys.executable, "-I", "x.py"], tmp_path, capsys, begins=True)

    assert "python -I lets no recorder in" in said


OWN: dict[str, Any] = {
    "budget": "10m", "allow_numerics": False, "blocks": 5, "only": None, "timeout": 600.0,
}  # fmt: skip


def test_options_after_the_command_are_the_commands() -> None:
    command = (sys.executable, "train.py", "--blocks", "9", "--json")

    assert request_from(command, "full", dict(OWN)).command == command


def test_a_script_alone_is_short_for_python(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("")

    asked = request_from((str(script), "--lr", "3"), "full", dict(OWN))

    assert asked.command[1:] == (str(script), "--lr", "3")


def test_without_a_command_the_settings_are_those_of_the_built_in_job() -> None:
    asked = request_from((), "quick", {**OWN, "num_workers": "0"})

    assert asked.settings is not None
    assert asked.settings.loader.num_workers == 0
    assert asked.settings.model.width == 8


def test_names_may_be_joined_as_options_are() -> None:
    asked = request_from((), "quick", {**OWN, "only": "num-workers, channels_last,num_workers"})

    assert asked.only == ("num_workers", "channels_last")


def test_a_refusal_to_conclude_has_an_exit_status_of_its_own() -> None:
    from tests.tuning.records import record

    assert exit_of(record()) == 0
    assert exit_of(record(conclusion="nothing to gain", gain=None)) == 0
    assert exit_of(record(conclusion="refused", gain=None)) == 3


def test_a_gain_of_the_built_in_job_is_kept_for_the_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.tuning.records import record

    from laptime.cli.tune import _remember
    from laptime.presets import Machine, recall
    from laptime.settings import RunSettings
    from laptime.tune import TuneRequest

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tuned = record(request=TuneRequest(settings=RunSettings()))
    pilot = tuned.pilot

    _remember(tuned)

    kept = recall(Machine(pilot.device_name, pilot.cpus, pilot.torch), RunSettings())
    assert kept is not None
    assert kept.changes == (("num_workers", 4),)
    assert kept.words == "58.0 % less time [56.7, 59.3] on 5 fresh blocks"


def test_a_gain_that_cannot_be_kept_loses_nothing_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.tuning.records import record

    from laptime.cli.tune import _remember
    from laptime.settings import RunSettings
    from laptime.tune import TuneRequest

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    _remember(record(request=TuneRequest(settings=RunSettings())))

    assert "not kept for --preset fast" in capsys.readouterr().err
