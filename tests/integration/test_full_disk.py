"""A real file system that fills up in the middle of a run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from laptime.errors import StoreError, TrainingError
from laptime.record import EpochRecord
from laptime.store import list_runs
from laptime.training import loop
from laptime.training.listener import Silence
from laptime.training.loop import resume, train

pytestmark = pytest.mark.faults


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount 24 MB, or skip where that takes more rights than we have."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system of 24 MB cannot be mounted without root's rights")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


class Filler(Silence):
    """Fill the disk, but for some bytes, as soon as an epoch has ended."""

    def __init__(self, disk: Path, left_bytes: int) -> None:
        self._disk, self._left_bytes = disk, left_bytes

    def epoch_ended(self, record: EpochRecord) -> None:
        free = os.statvfs(self._disk).f_bavail * os.statvfs(self._disk).f_frsize
        (self._disk / "filler").write_bytes(b"\0" * max(0, free - self._left_bytes))


@pytest.mark.parametrize("left_bytes", [0, 4096, 100_000, 300_000, 700_000, 1_000_000])
def test_a_run_on_a_disk_that_fills_up_goes_on_when_there_is_room_again(
    small_disk: Path,
    tmp_path: Path,
    tiny: Any,
    monkeypatch: pytest.MonkeyPatch,
    left_bytes: int,
) -> None:
    settings = tiny(width=8, epochs=3)
    whole = train(settings, tmp_path / "whole")

    with pytest.raises(TrainingError, match="The disk is full: free space"):
        train(settings, small_disk / "runs", Filler(small_disk, left_bytes))
    (run,) = list_runs(small_disk / "runs")
    (small_disk / "filler").unlink()
    # The process that failed would be gone; where nothing fits, its status still says running.
    monkeypatch.setattr(loop, "is_alive", lambda *_: False)

    ended = resume(run, settings)

    assert ended.weights_sha256 == whole.weights_sha256
    assert [epoch.loss for epoch in ended.epochs] == [epoch.loss for epoch in whole.epochs]


def test_a_disk_that_cannot_hold_the_checkpoints_is_refused_at_once(
    small_disk: Path, tiny: Any
) -> None:
    with pytest.raises(StoreError, match="but the checkpoints of this run need"):
        train(tiny(width=32), small_disk / "runs")

    assert list_runs(small_disk / "runs") == []
