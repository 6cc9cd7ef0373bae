"""kill -9 at random moments, then --resume: the same weights, no epoch lost or doubled."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from laptime.store import list_runs
from laptime.timing.clock import read_ns
from laptime.units import seconds

SETTINGS = (
    "--width 2 --samples 1500 --batch-size 32 --epochs 3 --num-workers 1 --device cpu "
    "--checkpoint-every 7 --evaluate false"
).split()


def start(runs_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "laptime",
            "train",
            "--json",
            "--runs-dir",
            str(runs_dir),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> Any:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return json.loads(out)


def kill_after(process: subprocess.Popen[str], delay_s: float) -> None:
    """Wait until the run has begun, then kill it with all its workers after a while."""
    assert process.stderr is not None
    while line := process.stderr.readline():
        if "run " in line:
            break
    try:
        process.wait(timeout=delay_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def essence(document: Any) -> list[tuple[object, ...]]:
    return [
        tuple(epoch[name] for name in ("epoch", "steps", "samples", "loss", "correct"))
        for epoch in document["epochs"]
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, float]:
    runs_dir = tmp_path_factory.mktemp("whole")
    document = end(start(runs_dir, *SETTINGS))
    return document, document["total_s"] - document["setup_s"]


def check_kills(uninterrupted: tuple[Any, float], tmp_path: Path, count: int, seed: int) -> None:
    whole, lasts_s = uninterrupted
    generator = random.Random(seed)
    for attempt in range(count):
        runs_dir = tmp_path / str(attempt)
        killed = start(runs_dir, *SETTINGS)
        kill_after(killed, generator.uniform(0, lasts_s))
        (run,) = list_runs(runs_dir)
        before = run.read_record()

        resumed = end(start(runs_dir, "--resume"))

        print(f"kill {attempt + 1}: {before.status} with {len(before.epochs)} epochs stored")
        assert before.status in {"interrupted", "completed"}
        assert resumed["weights_sha256"] == whole["weights_sha256"]
        assert essence(resumed) == essence(whole)
        assert [(s.epoch, s.step) for s in run.read_steps()] == [
            (epoch, step) for epoch in (1, 2, 3) for step in range(1, 48)
        ]
        for epoch in resumed["epochs"]:
            assert sum(epoch["phases_ns"].values()) == epoch["wall_ns"]
        assert len(list_runs(runs_dir)) == 1


@pytest.mark.faults
def test_three_killed_runs_end_as_if_they_had_not_been(
    uninterrupted: tuple[Any, float], tmp_path: Path
) -> None:
    check_kills(uninterrupted, tmp_path, count=3, seed=1)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_twenty_killed_runs_end_as_if_they_had_not_been(
    uninterrupted: tuple[Any, float], tmp_path: Path
) -> None:
    started_ns = read_ns()
    check_kills(uninterrupted, tmp_path, count=20, seed=2)
    print(f"20 kills in {seconds(read_ns() - started_ns):.0f} s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_told_to_end_with_all_its_workers_stops_cleanly_and_goes_on(
    uninterrupted: tuple[Any, float], tmp_path: Path, number: int
) -> None:
    process = start(tmp_path, *SETTINGS)
    assert process.stderr is not None
    while "run " not in process.stderr.readline():
        pass

    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=200)

    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert json.loads(out)["run"]["status"] == "interrupted"
    assert essence(end(start(tmp_path, "--resume"))) == essence(uninterrupted[0])


FAILING = """
import sys
from pathlib import Path
from laptime.errors import StoreError
from laptime.settings import build_settings
from laptime.training.listener import Silence
from laptime.training.loop import train

class Failing(Silence):
    def progressed(self, progress):
        raise StoreError("the disk is full.")

settings = build_settings(
    {"width": 1, "samples": 4000, "batch_size": 8, "num_workers": 2, "device": "cpu",
     "data": "synthetic", "persistent_workers": sys.argv[2]}
)
train(settings, Path(sys.argv[1]), Failing())
"""


@pytest.mark.parametrize("persistent", ["true", "false"])
def test_a_run_that_fails_while_its_workers_work_ends_and_leaves_none_behind(
    tmp_path: Path, persistent: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FAILING, str(tmp_path), persistent],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    # Well under the grace that a worker has after a first SIGTERM.
    _, err = process.communicate(timeout=25)

    assert process.returncode == 1
    assert "the disk is full" in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
