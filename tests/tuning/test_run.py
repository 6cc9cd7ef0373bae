from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.studies.fakes import Calm
from tests.tuning.scripts import FakeScript, Machine, Script, TuneNotes, request

from laptime.errors import SettingsError
from laptime.settings import build_settings
from laptime.study import TurnPolicy
from laptime.tune import TuneArm, TuneRequest
from laptime.tune_store import find_tuning, is_tuning, list_tunings
from laptime.tuning.arms.pilot import Look, ScriptEndedError
from laptime.tuning.choice.candidates import JOB_KINDS, KINDS, Kind
from laptime.tuning.conclusion import Tuned
from laptime.tuning.run import run_tuning

SOURCE = """\
from torch.utils.data import DataLoader
loader = DataLoader(data, batch_size=8)
"""


class FakeArms:
    """A script that is a formula, with a file whose line makes the loader."""

    is_script = True

    def __init__(self, script: Script, path: Path | None = None) -> None:
        self.machine, self._script, self._path = Machine(script), script, path
        self.kinds: Mapping[str, Kind] = KINDS
        self.short: TurnPolicy | None = None
        self.broken: Exception | None = None

    def look(self) -> Look:
        if self.broken is not None:
            raise self.broken
        place = {"path": str(self._path), "line": 2, "text": "train.py:2"}
        loader = {"place": place, "class": "DataLoader", "num_workers": 0, "training_passes": 1}
        facts = {"loaders": [loader], "roots": [], "optimizers": []} if self._path else {}
        pilot = self._script.pilot()
        if self._path and pilot.loader:
            named = pilot.loader.model_copy(update={"place": "train.py:2"})
            pilot = pilot.model_copy(update={"loader": named})
        if self.short:
            pilot = pilot.model_copy(update={"total_steps": 60})
        return Look(pilot, facts, 0.01, self.short)

    def start(self, arm: TuneArm, block: int) -> FakeScript:
        return self.machine.start(arm, block)


def run(
    tmp_path: Path, arms: FakeArms, asked: TuneRequest | None = None, notes: Any = None
) -> Tuned:
    return run_tuning(
        asked or request(), tmp_path / "runs", notes or TuneNotes(), arms=arms, meter=Calm(),
        free_bytes=lambda: 10**12,
    )  # fmt: skip


@pytest.fixture
def script_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train.py"
    path.write_text(SOURCE)
    return path


WAITS = Script(compute_ms=10, load_ms=40)


def test_a_tuning_leaves_its_request_its_blocks_and_its_result(tmp_path: Path) -> None:
    record = run(tmp_path, FakeArms(WAITS)).record

    (directory,) = list_tunings(tmp_path / "runs")
    assert directory.id == record.id
    assert "_tune_train_" in record.id
    assert directory.read_record() == record
    assert directory.read_request() == record.request
    assert len(directory.read_blocks()) == record.blocks
    assert is_tuning(directory.path)
    assert find_tuning(tmp_path / "runs", record.id[-6:]).id == record.id


def test_its_document_is_json(tmp_path: Path) -> None:
    document = json.loads(json.dumps(run(tmp_path, FakeArms(WAITS)).record.document()))

    assert document["conclusion"] == "gain"
    assert document["gain"]["row"]["verdict"] == "faster"
    assert {"tried", "not_tried", "pilot", "changes", "diff", "zone"} <= set(document)


def test_what_to_change_is_a_diff_of_the_line_that_was_seen(
    tmp_path: Path, script_file: Path
) -> None:
    tuned = run(tmp_path, FakeArms(WAITS, script_file))

    assert "+loader = DataLoader(data, batch_size=8, num_workers=4)" in tuned.record.diff
    assert tuned.record.changes[0].line == 2
    assert script_file.read_text() == SOURCE


def test_only_the_diff_that_is_shown_is_applied(tmp_path: Path, script_file: Path) -> None:
    from laptime.tuning.edits import apply

    tuned = run(tmp_path, FakeArms(WAITS, script_file))

    assert apply(tuned.edits) == (script_file,)
    assert script_file.read_text() == SOURCE.replace("=8)", "=8, num_workers=4)")


def test_without_a_gain_nothing_is_to_be_changed(tmp_path: Path, script_file: Path) -> None:
    tuned = run(tmp_path, FakeArms(Script(compute_ms=100), script_file))

    assert tuned.record.conclusion == "nothing to gain"
    assert tuned.record.changes == ()
    assert tuned.edits == ()


def test_a_script_that_cannot_be_tuned_leaves_nothing_behind(tmp_path: Path) -> None:
    arms = FakeArms(WAITS)
    arms.broken = ScriptEndedError("the script took 4 steps and ended", 3)

    with pytest.raises(ScriptEndedError):
        run(tmp_path, arms)

    assert list_tunings(tmp_path / "runs") == []


def test_a_budget_that_is_too_small_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="budget"):
        run(tmp_path, FakeArms(WAITS), request(budget_s=1e-3))

    assert list_tunings(tmp_path / "runs") == []


class Impatient(TuneNotes):
    """Presses Ctrl-C in the course of a block."""

    def turn_taken(self, arm: str, round_number: int, step_s: float) -> None:
        super().turn_taken(arm, round_number, step_s)
        if len(self.turns) == 60:
            raise KeyboardInterrupt


def test_what_is_done_stays_when_a_tuning_is_interrupted(tmp_path: Path) -> None:
    arms = FakeArms(WAITS)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, arms, notes=Impatient())

    (directory,) = list_tunings(tmp_path / "runs")
    record = directory.read_record()
    assert record.conclusion == "interrupted"
    assert record.blocks == len(directory.read_blocks()) > 0
    assert all(process.closed for process in arms.machine.started)


def test_a_short_script_is_run_one_process_after_another(tmp_path: Path) -> None:
    arms = FakeArms(WAITS)
    arms.short = TurnPolicy(min_turns=1, max_turns=1, min_steps=40, min_s=0.0)

    record = run(tmp_path, arms).record

    assert record.design == "sequential"
    assert record.conclusion == "gain"
    assert any("ends after 60 steps" in note for note in record.notes)


def test_the_built_in_job_gets_the_command_that_is_faster(tmp_path: Path) -> None:
    arms = FakeArms(WAITS)
    arms.kinds = JOB_KINDS
    asked = request(command=(), settings=build_settings({"num_workers": 0, "width": 8}))

    record = run(tmp_path, arms, asked).record

    assert record.changes[0].words == "`laptime train --width 8 --num-workers 4`"
    assert "_tune_resnet18_" in record.id


def test_a_report_finds_a_tuning_by_its_name_and_is_made_from_its_files(tmp_path: Path) -> None:
    from laptime.cli.main import invoke

    record = run(tmp_path, FakeArms(WAITS)).record
    runs = tmp_path / "runs"

    for name in ((), (record.id[-6:],), (str(runs / record.id),)):
        invoke(["report", *name, "--runs-dir", str(runs)])

    page = (runs / record.id / "report.html").read_text()
    assert record.gain is not None
    assert record.gain.name in page
    assert (runs / record.id / "figures" / "tuning.svg").is_file()
