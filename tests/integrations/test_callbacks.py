from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import laptime
from laptime.script import ScriptRecord
from laptime.script_store import list_scripts

HERE = Path(__file__).parent
PYTHON = os.environ.get("LAPTIME_ZOO_PYTHON", sys.executable)
"""An interpreter that has the frameworks; laptime itself need not be installed in it."""

pytestmark = pytest.mark.zoo


def records(script: str, framework: str, runs: Path) -> list[ScriptRecord]:
    """Run a script that fits three times; return what was recorded of each."""
    known = [PYTHON, "-c", f"import importlib.util as u; assert u.find_spec({framework!r})"]
    if subprocess.run(known, capture_output=True, check=False).returncode:
        pytest.skip(f"{PYTHON} has no {framework}; name one that has it in LAPTIME_ZOO_PYTHON")
    source = str(Path(laptime.__file__).parent.parent)
    done = subprocess.run(
        [PYTHON, script, str(runs)],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": source, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no more of this" in done.stdout
    assert done.stderr.count("laptime: recorded ") == 3, done.stderr
    return [directory.read_record() for directory in list_scripts(runs)]


def steps_of(record: ScriptRecord) -> list[int]:
    return [epoch.steps for epoch in record.epochs]


@pytest.mark.parametrize(
    ("script", "framework", "word"),
    [
        ("fit_lightning.py", "lightning", "classifier"),
        ("train_transformers.py", "transformers", "tiny"),
    ],
)
def test_every_training_of_a_framework_is_a_run(
    tmp_path: Path, script: str, framework: str, word: str
) -> None:
    found = records(script, framework, tmp_path / "runs")
    by_end = {status: [r for r in found if r.status.status == status] for status in
              ("completed", "failed")}  # fmt: skip

    assert [len(by_end[status]) for status in ("completed", "failed")] == [2, 1]
    for record in by_end["completed"]:
        assert steps_of(record) == [6, 6]
        assert all(epoch.evaluations == 1 for epoch in record.epochs)
        assert all(epoch.phases_ns["forward"] > 0 for epoch in record.epochs)
        assert all(epoch.phases_ns["evaluation"] > 0 for epoch in record.epochs)
        assert record.main is not None
        assert record.main.recorder.missing == ()
        assert record.main.loader is not None
        assert record.main.loader.batch_size == 5
        assert f"_{word}_" in record.id
    (failed,) = by_end["failed"]
    assert steps_of(failed) == [3]
    assert "no more of this" in (failed.status.reason or "") or framework == "transformers"
