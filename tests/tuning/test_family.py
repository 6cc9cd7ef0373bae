from __future__ import annotations

import subprocess
import sys
from typing import Any

import psutil
import pytest

from laptime.replicate import NoiseRecord
from laptime.timing.clock import read_ns
from laptime.timing.load import Counters
from laptime.timing.noise import Reading, SentinelReading
from laptime.tuning.arms.family import FamilyMeter, family, kill

NESTED = (
    "import subprocess, sys; print('up', flush=True); "
    "subprocess.run([sys.executable, '-S', '-c', 'import sys; print(1, flush=True); "
    "sys.stdin.read()'])"
)


def test_a_family_is_all_that_a_process_has_started() -> None:
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", NESTED],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()] == ["up\n", "1\n"]

        found = family(process.pid)
        kill(found)

    assert len(found) == 2
    assert not [one for one in psutil.wait_procs(found, 20)[1] if one.status() != "zombie"]


def test_a_process_that_is_gone_has_no_family() -> None:
    assert family(2**22 - 3) == []


class Meter:
    """Says that so much was foreign."""

    def __init__(self, foreign: float | None) -> None:
        self.foreign = foreign

    def before(self, pids: Any) -> Reading:
        counters = Counters(read_ns() - 10**9, None, None, {}, None)
        return Reading(SentinelReading(1, 1, None), counters, tuple(pids))

    def after(self, reading: Reading) -> NoiseRecord:
        return NoiseRecord(sentinel_before_ns=1, sentinel_after_ns=1, foreign_cores=self.foreign)


def after(foreign: float | None, cpu_s: dict[int, float]) -> float | None:
    meter = FamilyMeter(Meter(foreign), lambda root: cpu_s)  # type: ignore[arg-type]
    return meter.after(meter.before((100, 101))).foreign_cores


def test_workers_that_were_born_in_a_turn_are_no_foreign_load() -> None:
    assert after(0.9, {100: 5.0, 101: 3.0, 102: 0.5, 103: 0.3}) == pytest.approx(0.1, abs=0.02)


def test_what_was_there_before_the_turn_is_counted_by_the_meter_itself() -> None:
    assert after(0.9, {100: 5.0, 101: 3.0}) == pytest.approx(0.9)


def test_where_nothing_is_known_nothing_is_said() -> None:
    assert after(None, {102: 0.5}) is None
