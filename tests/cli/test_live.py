from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest

from laptime.cli.live import LiveRun
from laptime.phase import Phase
from laptime.record import DataRecord, EnvironmentRecord, EpochRecord, RunRecord
from laptime.settings import build_settings
from laptime.training.listener import Progress

Capture = pytest.CaptureFixture[str]

PROGRESS = Progress(
    epoch=2,
    epochs=5,
    step=40,
    num_steps=400,
    loss=1.25,
    correct=100,
    samples=5120,
    elapsed_s=4.0,
    step_s=0.1,
    samples_per_s=1280.0,
    loading_share=0.25,
)


def record(**given: Any) -> RunRecord:
    environment = EnvironmentRecord(
        cpu="A processor",
        cpus_usable=2,
        cpus_total=2,
        memory_bytes=8 * 10**9,
        memory_usable_bytes=8 * 10**9,
        shm_bytes=None,
        platform="Linux",
        python="3.11.2",
        torch="2.13.0",
        laptime="0.1.0",
        device="cpu",
        device_name="A processor",
        threads=2,
        interop_threads=2,
        start_method="fork",
    )
    data = DataRecord(
        name="synthetic",
        source="embedded generator",
        verified=True,
        label="embedded set",
        sha256=None,
        train_samples=50_000,
        test_samples=10_000,
        num_classes=10,
    )
    values: dict[str, Any] = {
        "id": "a",
        "directory": "runs/a",
        "status": "running",
        "settings": build_settings(given.pop("settings", {})).flat(),
        "environment": environment,
        "data": data,
        "parameters": 5,
        "setup_ns": 10,
    }
    return RunRecord(**{**values, **given})


def epoch(**given: Any) -> EpochRecord:
    phases = {Phase.FORWARD: 3_000_000_000, Phase.DATA_WAIT: 1_000_000_000}
    values: dict[str, Any] = {
        "epoch": 2,
        "samples": 200,
        "steps": 2,
        "loss": 1.25,
        "correct": 51,
        "wall_ns": 4_000_000_000,
        "phases_ns": phases,
        "mode": "host",
    }
    return EpochRecord(**{**values, **given})


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("TERM", "xterm")


def test_a_projection_follows_from_the_pace_so_far() -> None:
    assert PROGRESS.epoch_left_s == pytest.approx(36)
    assert PROGRESS.epoch_s == pytest.approx(40)
    assert PROGRESS.run_left_s == pytest.approx(36 + 3 * 40)


def test_the_last_step_of_the_last_epoch_has_nothing_left() -> None:
    done = replace(PROGRESS, epoch=5, step=400)

    assert (done.epoch_left_s, done.run_left_s) == (0, 0)


def test_a_log_says_where_the_run_is_and_a_line_an_epoch(capsys: Capture) -> None:
    live = LiveRun(stream_rows=False)
    live.run_started(record(), "resnet18")
    live.progressed(PROGRESS)
    live.epoch_ended(epoch())
    live.close()

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "resnet18: run runs/a",
        "epoch 2/5: loss 1.250, top-1 25.50 %, 4.0 s, 25 % waiting for data",
    ]


def test_a_loss_that_is_not_finite_is_called_nan(capsys: Capture) -> None:
    live = LiveRun(stream_rows=False)
    live.run_started(record(), "resnet18")
    live.epoch_ended(epoch(loss=None))
    live.progressed(replace(PROGRESS, loss=None))

    assert "loss NaN" in capsys.readouterr().err


def test_rows_are_streamed_to_the_output_as_epochs_end(capsys: Capture) -> None:
    out = io.StringIO()
    live = LiveRun(stream_rows=True, out=out)
    live.run_started(record(), "resnet18")
    head = out.getvalue().splitlines()
    live.epoch_ended(epoch())
    live.close()

    assert head[0].startswith("resnet18, 5 parameters")
    assert head[-1].split() == ["loss", "top-1", "loading", "training", "other", "total", "s"]
    assert out.getvalue().splitlines()[len(head) :] == [
        "epoch 2      1.250   25.50 %      1.00      3.00    0.00      4.00"
    ]
    assert capsys.readouterr().out == ""


def test_an_epoch_beyond_ten_minutes_is_announced_once(capsys: Capture) -> None:
    live = LiveRun(stream_rows=False)
    live.run_started(record(), "resnet18")
    capsys.readouterr()
    long = replace(PROGRESS, elapsed_s=60.0, step_s=1.6)  # 60 s + 360 steps of 1.6 s

    live.progressed(long)
    live.progressed(replace(long, step=50))

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("An epoch will take about 10 min 36 s here. --samples 4864 makes it ")
    assert line.endswith("Ctrl-C stops, and --resume goes on.")


@pytest.mark.parametrize("left_s", [0.0, 599.9])
def test_a_shorter_epoch_is_not_announced(capsys: Capture, left_s: float) -> None:
    live = LiveRun(stream_rows=False)

    live.progressed(replace(PROGRESS, elapsed_s=0.0, step=0, num_steps=1, step_s=left_s))

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("batch_size", [16, 1024])
def test_the_number_of_samples_that_makes_a_minute_counts_the_batch_size(
    capsys: Capture, batch_size: int
) -> None:
    live = LiveRun(stream_rows=False)
    live.run_started(record(settings={"batch_size": batch_size}), "resnet18")

    live.progressed(
        replace(PROGRESS, step=1, samples=batch_size, elapsed_s=0.2, num_steps=6000, step_s=0.2)
    )

    found = re.search(r"--samples (\d+)", capsys.readouterr().err)
    assert found is not None
    assert int(found.group(1)) * 0.2 / batch_size == pytest.approx(60, rel=0.1)


@pytest.mark.usefixtures("on_terminal")
def test_a_terminal_gets_a_bar_on_standard_error_that_goes_away(capsys: Capture) -> None:
    live = LiveRun(stream_rows=False)
    live.run_started(record(), "resnet18")
    live.progressed(PROGRESS)
    live.close()
    live.close()

    out, err = capsys.readouterr()
    assert out == ""
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", err)
    assert "epoch 2/5" in text
    assert "40/400" in text
    assert "100.0 ms/step · 4.0 s · loss 1.250 · 100/5,120 · 1,280 samples/s" in text
    assert "25 % waiting for data" in text
    assert "2 min 36 s left" in text
    assert "run runs/a" not in text
    assert err.rstrip().endswith(("\x1b[2K", "\x1b[?25h")), "the bar stays on the screen"


def test_a_warning_keeps_what_looks_like_markup_and_is_not_wrapped(capsys: Capture) -> None:
    live = LiveRun(stream_rows=False)

    live.warned("[bold]x[/bold] " + "y" * 300)

    assert capsys.readouterr().err == "[bold]x[/bold] " + "y" * 300 + "\n"


def test_a_run_that_never_began_has_not_started() -> None:
    live = LiveRun(stream_rows=True)
    live.close()

    assert not live.started


def test_control_characters_in_names_do_not_reach_the_terminal(capsys: Capture) -> None:
    live = LiveRun(stream_rows=False)

    live.run_started(record(directory="runs\x1b[2J/a"), "net\x1b]0;title\x07.py:build")
    live.warned("caf\x9b31m\u202e")

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", capsys.readouterr().err)
