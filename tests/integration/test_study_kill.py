"""kill -9 at random moments of a study, then --resume: no finished block lost or repeated."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from laptime.study_store import find_study

STUDY = (
    "study batchnorm --width 1 --samples 64 --batch-size 8 --epochs 1 --num-workers 1 "
    "--device cpu --blocks 3 --turns 2 --seeds 2"
).split()

LASTS_S = 25.0
"""About, uninterrupted on two cores; kills fall into this time."""


def start(runs_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "laptime", *arguments, "--json", "--runs-dir", str(runs_dir)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def logs(runs_dir: Path) -> tuple[list[str], list[str]]:
    study = find_study(runs_dir, None)
    lines = [
        p.read_text().splitlines() if p.exists() else [] for p in (study.blocks, study.trained)
    ]
    return lines[0], lines[1]


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True) if psutil.pid_exists(pid) else []


def kill_during(process: subprocess.Popen[str], delay_s: float) -> bool:
    """Kill the study alone, with the process that started it gone; return whether it still ran."""
    try:
        process.wait(timeout=delay_s)
    except subprocess.TimeoutExpired:
        family = children(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
        return True
    process.communicate()
    return False


def check_kills(tmp_path: Path, count: int, seed: int) -> None:
    drawn = random.Random(seed)
    killed = 0
    for number in range(count):
        runs_dir = tmp_path / str(number)
        process = start(runs_dir, *STUDY)
        was_killed = kill_during(process, drawn.uniform(0.5, LASTS_S))
        killed += was_killed
        if not list(runs_dir.glob("*_study-*/request.json")):
            continue  # killed before anything was asked for: there is nothing to go on with
        before = logs(runs_dir)
        resumed = start(runs_dir, "study", "batchnorm", "--resume")
        out, err = resumed.communicate(timeout=200)
        assert resumed.returncode == 0, err
        check_whole(json.loads(out), before, logs(runs_dir))
    assert killed >= count / 2


def check_whole(
    record: Any, before: tuple[list[str], list[str]], after: tuple[list[str], list[str]]
) -> None:
    blocks = [json.loads(line)["block"] for line in after[0]]
    trained = [(row["arm"], row["seed"]) for row in map(json.loads, after[1])]
    assert blocks == [1, 2, 3]
    assert sorted(trained) == [("batch", 0), ("batch", 1), ("none", 0), ("none", 1)]
    assert after[0][: len(before[0])] == before[0]
    assert after[1][: len(before[1])] == before[1]
    assert record["status"] == "completed"
    assert record["blocks"] == 3


@pytest.mark.faults
def test_a_study_killed_once_goes_on(tmp_path: Path) -> None:
    check_kills(tmp_path, 1, seed=1)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_twenty_killed_studies_go_on(tmp_path: Path) -> None:
    check_kills(tmp_path, 20, seed=2)
    print("20 of 20 killed studies went on: no block lost or repeated")
