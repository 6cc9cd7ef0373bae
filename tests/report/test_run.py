from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.phase import Phase
from laptime.record import (
    DataRecord,
    DeviceTimes,
    EnvironmentRecord,
    EpochRecord,
    Overhead,
    RunRecord,
)
from laptime.report.runs.epochs import epoch_line
from laptime.report.runs.run import closing_lines, header_lines, render_run
from laptime.settings import build_settings

MS = 1_000_000

CPU: dict[str, Any] = {
    "cpu": "AMD EPYC 7763",
    "cpus_usable": 2,
    "cpus_total": 4,
    "memory_bytes": 8_300_000_000,
    "memory_usable_bytes": 4_000_000_000,
    "shm_bytes": None,
    "platform": "Linux",
    "python": "3.11.2",
    "torch": "2.13.0+cpu",
    "laptime": "0.1.0",
    "device": "cpu",
    "device_name": "AMD EPYC 7763",
    "threads": 2,
    "interop_threads": 2,
    "start_method": "fork",
}

DATA: dict[str, Any] = {
    "name": "cifar10",
    "source": "data/cifar-10-batches-py",
    "verified": True,
    "label": "official copy, verified",
    "sha256": None,
    "train_samples": 50_000,
    "test_samples": 10_000,
    "num_classes": 10,
}

PHASES = {
    Phase.LOADER_START: 110 * MS,
    Phase.DATA_WAIT: 1900 * MS,
    Phase.FORWARD: 5000 * MS,
    Phase.BACKWARD: 11_000 * MS,
    Phase.OPTIMIZER: 600 * MS,
    Phase.LOADER_END: 40 * MS,
    Phase.CHECKPOINT: 250 * MS,
    Phase.LOGGING: 60 * MS,
    Phase.OTHER: 40 * MS,
}


def epoch(number: int, phases: Mapping[Phase, int] = PHASES, **values: Any) -> EpochRecord:
    usual = {
        "epoch": number,
        "samples": 50_000,
        "steps": 391,
        "loss": 2.0 / number,
        "correct": 10_000 + 5_000 * number,
        "wall_ns": sum(phases.values()),
        "phases_ns": phases,
        "mode": "host",
        "cold": number == 1,
    }
    return EpochRecord(**{**usual, **values})


def record(*epochs: EpochRecord, **given: Any) -> RunRecord:
    values: dict[str, Any] = {
        "id": "a",
        "directory": "runs/a",
        "status": "completed",
        "settings": build_settings(given.pop("settings", {})).flat(),
        "environment": EnvironmentRecord(**{**CPU, **given.pop("machine", {})}),
        "data": DataRecord(**{**DATA, **given.pop("data", {})}),
        "parameters": 11_173_962,
        "setup_ns": 2340 * MS,
        "epochs": epochs,
        "overhead": Overhead(per_step_us=4.16, share=0.000085),
    }
    return RunRecord(**{**values, **given})


def slower(factor: float) -> dict[Phase, int]:
    return {phase: round(spent * factor) for phase, spent in PHASES.items()}


def on_device(number: int, **given: int) -> EpochRecord:
    """Return an epoch with one window that holds all of its steps."""
    inside = {
        Phase.DATA_WAIT: 900 * MS,
        Phase.TRANSFER: 100 * MS,
        Phase.FORWARD: 500 * MS,
        Phase.BACKWARD: 700 * MS,
        Phase.OPTIMIZER: 300 * MS,
        Phase.SYNC: 2500 * MS,
    }
    device = DeviceTimes(
        **{
            **dict.fromkeys(DeviceTimes.model_fields, 0),
            "windows": 5,
            "steps": 391,
            "wall_ns": 5000 * MS,
            "transfer_ns": 200 * MS,
            "forward_ns": 1400 * MS,
            "backward_ns": 2600 * MS,
            "optimizer_ns": 300 * MS,
            "stall_ns": 400 * MS,
            "host_gap_ns": 100 * MS,
            "hidden_ns": 500 * MS,
            "host_phases_ns": inside,
            **given,
        }
    )
    outside = {Phase.LOADER_START: 200 * MS, Phase.EVALUATION: 800 * MS}
    return epoch(number, inside | outside, mode="events", device_ns=device)


def text(it: RunRecord) -> str:
    return "\n".join(render_run(it))


GPU = {"device": "cuda:0", "device_name": "NVIDIA H200", "threads": 16}

RUNS = {
    "host": record(epoch(1, slower(1.25)), epoch(2), epoch(3, slower(1.1))),
    "events": record(
        on_device(1),
        on_device(2),
        on_device(3, invalid_windows=2),
        machine=GPU,
        settings={"evaluate": True, "num_workers": 1},
    ),
    "off": record(epoch(1, {Phase.OTHER: 19_000 * MS}, mode="off"), settings={"timing": "off"}),
    "diverged": record(
        epoch(1, loss=None, correct=100, samples=1000, steps=8, complete=False),
        status="diverged",
        reason="the loss is not finite at epoch 1, step 8",
    ),
    "interrupted": record(status="interrupted", reason="stopped from outside", overhead=None),
    "one_epoch": record(
        epoch(1, test_loss=1.5, test_correct=4321, test_samples=10_000),
        settings={"evaluate": True, "width": 8, "norm": "none"},
    ),
    "resumed": record(epoch(1), epoch(2, segments=2), epoch(3), epoch(4), resumed=1),
    "own_data": record(
        epoch(1),
        status="out_of_memory",
        reason="RuntimeError: not enough memory",
        data={
            "name": "build",
            "source": "mine.py:build",
            "label": "your own",
            "num_classes": None,
            "train_samples": 1234,
        },
        settings={"data": "mine.py:build", "model": "net.py:build", "num_workers": 0},
        machine={"threads": 1},
    ),
}

GOLDEN = Path(__file__).parent / "golden_runs"


@pytest.mark.parametrize("name", RUNS)
def test_a_run_reads_like_its_golden_text(name: str) -> None:
    """Read the difference; where it is meant, copy what is printed into tests/report/golden."""
    assert text(RUNS[name]) + "\n" == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_no_golden_text_is_without_its_run() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(RUNS)


def shares(line: str) -> list[float]:
    """Return the per cents of a line, in order."""
    return [float(number) for number in re.findall(r"([\d.]+) %", line)]


spent = st.dictionaries(
    st.sampled_from(Phase), st.integers(1, 10**12), min_size=1, max_size=len(Phase)
)


@given(spent)
def test_columns_and_phases_sum_to_the_whole_within_rounding(phases: dict[Phase, int]) -> None:
    bar, by_phase = ledger(record(epoch(2, phases)))

    assert sum(shares(bar)) == pytest.approx(100, abs=0.5 * 3)
    assert sum(shares(by_phase)) == pytest.approx(100, abs=0.5 * len(phases))


def ledger(it: RunRecord) -> tuple[str, str]:
    """Return the bar and the phases below it, however they are broken into lines."""
    found = re.search(r"^(loading .*)\n((?:.*\n)*?)over epoch", text(it), re.MULTILINE)
    assert found is not None
    return found[1], re.sub(r"\s", " ", found[2])


@given(spent)
def test_a_row_sums_to_its_total_within_rounding(phases: dict[Phase, int]) -> None:
    row = epoch_line(epoch(2, phases)).split()

    loading, training, other, total = map(float, row[-4:])
    assert loading + training + other == pytest.approx(total, abs=0.005 * 4 + 1e-9)


def test_the_total_row_adds_the_set_up_to_the_epochs() -> None:
    total = next(line for line in render_run(RUNS["host"]) if line.startswith("total"))

    assert total.endswith("63.65  + set-up 2.34 s = run 65.99 s")


def test_a_cpu_has_nothing_to_transfer_and_nothing_to_wait_for() -> None:
    _, line = ledger(RUNS["host"])

    assert "transfer n/a" in line
    assert "sync n/a" in line


def test_a_transfer_that_took_time_is_printed_with_it() -> None:
    phases = {Phase.TRANSFER: 30, Phase.FORWARD: 70}
    _, line = ledger(record(epoch(2, phases, mode="sync"), machine=GPU))

    assert "transfer 30 %" in line
    assert "n/a" not in line


def test_a_cpu_timed_in_mode_sync_has_no_transfer_either() -> None:
    _, line = ledger(record(epoch(2, mode="sync")))

    assert "transfer n/a" in line


def test_what_was_not_measured_is_not_printed_as_zero() -> None:
    row = next(line for line in render_run(RUNS["off"]) if line.startswith("epoch 1"))

    assert row.split()[-5:] == ["n/a", "n/a", "n/a", "19.00", "cold"]


def test_a_resumed_epoch_is_marked_and_left_out_of_means() -> None:
    it = record(epoch(1), epoch(2, slower(9), segments=2), epoch(3), epoch(4))
    lines = render_run(it)

    assert next(line for line in lines if line.startswith("epoch 2")).endswith("resumed")
    assert "19.00  from 19.00 to 19.00" in next(line for line in lines if line.startswith("mean"))


def test_an_epoch_that_a_mean_leaves_out_is_not_named_among_its_epochs() -> None:
    it = record(epoch(1), epoch(2), epoch(3, segments=2), epoch(4))

    assert "over epochs 2, 4: " in text(it)


def test_the_best_epoch_is_the_first_of_equals() -> None:
    it = record(epoch(1, correct=9), epoch(2, correct=11), epoch(3, correct=11))

    assert "(11 of 50,000, epoch 2)" in text(it)


def test_rows_that_are_out_already_are_not_printed_again() -> None:
    it = RUNS["host"]

    closing = closing_lines(it)

    assert not [line for line in closing if line.startswith(("epoch ", "resnet18"))]
    assert closing[0].startswith("total")
    assert render_run(it)[-len(closing) :] == closing


def test_a_device_attribution_that_does_not_close_is_called_invalid() -> None:
    assert "2 of 10 windows do not close" in text(RUNS["events"])
    assert "do not close" not in text(record(on_device(1), on_device(2), machine=GPU))


NASTY = "net\x1b[31m\r\n\x07\u202e.py:build"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize(
    "given",
    [
        {"settings": {"model": NASTY}, "status": "failed", "reason": "x"},
        {"data": {"name": NASTY, "label": NASTY}},
        {"machine": {"device_name": NASTY, "torch": NASTY}},
        {"directory": NASTY},
        {"status": "failed", "reason": NASTY},
        {"status": "interrupted", "directory": NASTY},
    ],
)
def test_control_characters_in_names_do_not_reach_the_terminal(given: dict[str, Any]) -> None:
    for line in render_run(record(**given)):
        assert not CONTROL.search(line), ascii(line)


@pytest.mark.parametrize(
    "given",
    [
        {"settings": {"model": NASTY}},
        {"settings": {"data": NASTY}},
        {"status": "diverged", "reason": NASTY},
    ],
)
def test_control_characters_in_findings_do_not_reach_the_terminal(given: dict[str, Any]) -> None:
    for line in render_run(record(epoch(1), **given)):
        assert not CONTROL.search(line), ascii(line)


def test_the_command_that_resumes_survives_the_shell() -> None:
    directory = "my  runs/a"
    it = record(status="interrupted", reason="stopped from outside", directory=directory)

    line = next(line for line in render_run(it) if line.startswith("Next:"))

    assert shlex.split(line)[1:] == ["laptime", "train", "--resume", directory]


@pytest.mark.parametrize("name", RUNS)
def test_the_head_fits_a_terminal(name: str) -> None:
    assert max(map(len, header_lines(RUNS[name]))) <= 110


@pytest.mark.parametrize(
    "name",
    RUNS,
)
def test_no_line_is_over_130_columns(name: str) -> None:
    assert [line for line in render_run(RUNS[name]) if len(line) > 130] == []
