from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import click
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from laptime.cli.options import settings_from
from laptime.cli.train import command as train_command
from laptime.phase import Phase
from laptime.record import DataRecord, DeviceTimes, EnvironmentRecord, EpochRecord, RunRecord
from laptime.report.runs.findings import (
    findings,
    learning_finding,
    limit_finding,
    spread_finding,
    steady_epochs,
)
from laptime.settings import RunSettings, build_settings

MS = 1_000_000

ENVIRONMENT = EnvironmentRecord(
    cpu="A processor",
    cpus_usable=2,
    cpus_total=4,
    memory_bytes=8 * 10**9,
    memory_usable_bytes=4 * 10**9,
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

COMPUTING = {Phase.FORWARD: 300 * MS, Phase.BACKWARD: 600 * MS, Phase.DATA_WAIT: 20 * MS}


def epoch(number: int, phases: Mapping[Phase, int] = COMPUTING, **given: Any) -> EpochRecord:
    values = {
        "epoch": number,
        "samples": 10_000,
        "steps": 79,
        "loss": 2.0 / number,
        "correct": 5000,
        "wall_ns": sum(phases.values()),
        "phases_ns": phases,
        "mode": "host",
        "cold": number == 1,
    }
    return EpochRecord(**{**values, **given})


def record(
    *epochs: EpochRecord, settings: Mapping[str, Any] | None = None, **given: Any
) -> RunRecord:
    data = DataRecord(
        name=given.pop("data_name", "synthetic"),
        source="embedded generator",
        verified=True,
        label="embedded set",
        sha256=None,
        train_samples=10_000,
        test_samples=0,
        num_classes=given.pop("num_classes", 10),
    )
    values: dict[str, Any] = {
        "id": "a",
        "directory": "runs/a",
        "status": "completed",
        "settings": build_settings(settings or {}).flat(),
        "environment": ENVIRONMENT,
        "data": data,
        "parameters": 5,
        "setup_ns": 10,
        "epochs": epochs,
    }
    return RunRecord(**{**values, **given})


def parsed(line: str) -> RunSettings:
    """Read a printed command as the shell and our command line do."""
    program, verb, *arguments = shlex.split(line)
    assert (program, verb) == ("laptime", "train")
    context: click.Context = train_command.make_context("train", arguments)
    own = {name: value for name, value in context.params.items() if name in RunSettings().flat()}
    return settings_from(None, own)


def spending(phase: Phase, share: float) -> dict[Phase, int]:
    """Return a second of which a phase has a share and computing the rest."""
    spent = round(1000 * share) * MS
    return {Phase.FORWARD: 1000 * MS - spent, phase: spent}


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.DATA_WAIT, "loader_bound"),
        (Phase.LOADER_START, "start_up_bound"),
        (Phase.LOADER_END, "start_up_bound"),
        (Phase.EVALUATION, "evaluation_bound"),
        (Phase.CHECKPOINT, "checkpoint_bound"),
        (Phase.LOGGING, "logging_bound"),
    ],
)
def test_each_part_is_named_from_a_tenth_of_the_epoch_on(phase: Phase, code: str) -> None:
    for share, expected in ((0.099, "compute_bound"), (0.10, code), (0.34, code)):
        found = limit_finding(record(epoch(1), epoch(2, spending(phase, share))))

        assert found is not None
        assert found.code == expected, share
        if expected == code:
            assert f"takes {share:.0%} of an epoch".replace("%", " %") in found.sentence


def test_the_share_and_the_seconds_are_those_of_a_steady_epoch() -> None:
    cold = epoch(1, {Phase.DATA_WAIT: 9000 * MS})
    steady = [epoch(n, spending(Phase.DATA_WAIT, share)) for n, share in ((2, 0.2), (3, 0.4))]

    found = limit_finding(record(cold, *steady))

    assert found is not None
    assert "It takes 30 % of an epoch (0.3 s): removing all of it" in found.sentence


def test_loading_of_which_most_is_the_loaders_start_and_end_is_named_for_them() -> None:
    phases = {
        Phase.FORWARD: 700 * MS,
        Phase.LOADER_START: 100 * MS,
        Phase.LOADER_END: 80 * MS,
        Phase.DATA_WAIT: 120 * MS,
    }

    found = limit_finding(record(epoch(1), epoch(2, phases)))

    assert found is not None
    assert found.code == "start_up_bound"
    assert "30 %" in found.sentence, "the waits between are part of what loading takes"


def test_of_several_parts_the_largest_is_named() -> None:
    phases = {Phase.FORWARD: 500 * MS, Phase.EVALUATION: 300 * MS, Phase.DATA_WAIT: 200 * MS}

    found = limit_finding(record(epoch(1), epoch(2, phases)))

    assert found is not None
    assert found.code == "evaluation_bound"


def test_a_wait_that_a_busy_device_hid_is_no_limit() -> None:
    inside = {Phase.DATA_WAIT: 800 * MS, Phase.SYNC: 200 * MS}
    values: dict[str, Any] = {**dict.fromkeys(DeviceTimes.model_fields, 0), "steps": 79}
    for stall, expected in ((20 * MS, "compute_bound"), (500 * MS, "loader_bound")):
        device = DeviceTimes(**{**values, "stall_ns": stall, "host_phases_ns": inside})
        found = limit_finding(record(epoch(2, inside, mode="events", device_ns=device)))

        assert found is not None
        assert found.code == expected


def test_computing_is_named_with_what_perfect_loading_would_save() -> None:
    found = limit_finding(record(epoch(1), epoch(2, spending(Phase.DATA_WAIT, 0.04))))

    assert found is not None
    assert found.sentence == (
        "Limit: computing, 96 % of an epoch. Perfect loading would save at most 4 %: "
        "stop tuning it."
    )


def test_without_timing_no_limit_is_named() -> None:
    assert limit_finding(record(epoch(1, {Phase.OTHER: MS}, mode="off"))) is None


@pytest.mark.parametrize(
    ("fastest", "slowest", "fires"),
    [(10_000, 12_500, False), (10_000, 12_501, True), (1000, 1999, False), (1000, 2000, True)],
)
def test_epochs_that_differ_by_over_a_quarter_and_a_second_are_named(
    fastest: int, slowest: int, fires: bool
) -> None:
    cold = epoch(1, {Phase.FORWARD: 90_000 * MS})
    steady = [epoch(n, {Phase.FORWARD: ms * MS}) for n, ms in ((2, slowest), (3, fastest))]

    found = spread_finding(record(cold, *steady))

    assert (found is not None) is fires


def test_a_run_without_an_epoch_shows_nothing() -> None:
    assert findings(record(status="interrupted")) == []
    assert findings(record(status="failed", reason="broken")) == []


@pytest.mark.parametrize(
    ("epochs", "steady"),
    [
        ([(1, 1)], [1]),
        ([(1, 1), (2, 1), (3, 1)], [2, 3]),
        ([(1, 1), (2, 2), (3, 1)], [3]),
        ([(1, 1), (2, 2)], [1]),
        ([(1, 2)], [1]),
        ([(1, 3), (2, 2)], [1, 2]),
    ],
)
def test_means_rest_on_epochs_that_are_neither_cold_nor_resumed_where_there_are_some(
    epochs: list[tuple[int, int]], steady: list[int]
) -> None:
    chosen = steady_epochs([epoch(number, segments=pieces) for number, pieces in epochs])

    assert [it.epoch for it in chosen] == steady


# Of 10,000 samples of ten classes: three standard errors above chance are 1,090 correct.
@pytest.mark.parametrize(
    ("correct", "fires"), [(0, True), (1000, True), (1090, True), (1091, False)]
)
def test_nothing_was_learned_up_to_three_standard_errors_above_chance(
    correct: int, fires: bool
) -> None:
    found = learning_finding(record(epoch(1, loss=2.4), epoch(2, correct=correct, loss=2.3)))

    assert (found is not None) is fires
    if found:
        assert found.code == "nothing_learned"
        assert f"({correct:,} of 10,000)" in found.sentence
        assert "10 classes gives 2.303 and 10.00 %" in found.sentence


def test_a_loss_better_than_guessing_is_learning_whatever_the_accuracy() -> None:
    for loss, fires in ((2.26, True), (2.25, False)):  # 0.98 of ln 10 is 2.2565
        found = learning_finding(record(epoch(1, correct=1000, loss=loss)))
        assert (found is not None) is fires


def test_few_samples_show_nothing_about_learning() -> None:
    for samples, fires in ((499, False), (500, True)):
        found = learning_finding(record(epoch(1, correct=50, samples=samples, loss=2.4)))
        assert (found is not None) is fires


def test_chance_is_of_the_last_epoch_and_of_the_datas_classes() -> None:
    fallen = record(epoch(1, correct=9000), epoch(2, correct=1000, loss=2.3))
    two_classes = record(epoch(1, correct=5100, loss=0.69, steps=100), num_classes=2)

    for it in (fallen, two_classes):
        found = learning_finding(it)
        assert found is not None
        assert found.code == "nothing_learned"


def test_where_the_number_of_classes_is_unknown_nothing_is_said_of_chance() -> None:
    assert learning_finding(record(epoch(1, correct=0), num_classes=None)) is None


@pytest.mark.parametrize(
    ("first", "last", "fires"),
    [(2.0, 1.9, False), (2.0, 2.0, True), (2.0, 2.5, True), (None, 1.0, False), (2.0, None, False)],
)
def test_a_loss_that_does_not_fall_is_named(
    first: float | None, last: float | None, fires: bool
) -> None:
    found = learning_finding(record(epoch(1, loss=first), epoch(2, loss=last)))

    assert (found is not None) is fires
    if found:
        assert found.code == "loss_does_not_fall"


def test_a_loss_that_was_not_finite_is_no_trend() -> None:
    found = learning_finding(record(epoch(1, loss=None), epoch(2, loss=1.0)))

    assert found is None


def test_one_epoch_is_no_trend() -> None:
    assert learning_finding(record(epoch(1, loss=9.0))) is None


@pytest.mark.parametrize(("steps", "code"), [(99, "too_few_steps"), (100, "nothing_learned")])
def test_a_run_that_has_hardly_begun_is_not_called_a_failure_to_learn(
    steps: int, code: str
) -> None:
    found = learning_finding(record(epoch(1, correct=1000, loss=2.3, steps=steps)))

    assert found is not None
    assert found.code == code
    assert (found.next_command is None) is (steps < 100)


def test_a_cold_epoch_alone_sends_nobody_to_change_something() -> None:
    cold = limit_finding(record(epoch(1, {Phase.DATA_WAIT: 60 * MS, Phase.FORWARD: 40 * MS})))

    assert cold is not None
    assert "cold epoch only" in cold.sentence
    assert cold.next_command is None


def test_the_command_keeps_the_place_of_the_runs() -> None:
    found = limit_finding(record(epoch(1), epoch(2), directory="my runs/a"))

    assert found is not None
    assert (found.next_command or "").endswith("--runs-dir 'my runs'")


def test_what_was_not_learned_comes_before_the_limit() -> None:
    codes = [found.code for found in findings(record(epoch(1, correct=1000, loss=2.3, steps=100)))]

    assert codes == ["nothing_learned", "compute_bound"]


def test_a_diverged_run_says_so_and_nothing_of_limits() -> None:
    reason = "the loss is not finite at epoch 2, step 7"
    (found,) = findings(record(epoch(1), status="diverged", reason=reason))

    assert found.code == "diverged"
    assert reason in found.sentence
    assert parsed(found.next_command or "").optimizer.lr == pytest.approx(0.01)


def changes(it: RunRecord, line: str | None) -> dict[str, tuple[Any, Any]]:
    """Return what the printed command changes: name to value before and after."""
    before, after = it.settings, parsed(line or "").flat()
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


AS_TYPED: dict[str, Any] = {
    "model": "my nets/net.py:build",
    "data": "$HOME/my.py:data",
    "width": 8,
    "samples": 5000,
    "norm": "none",
    "optimizer": "nesterov",
    "batch_size": 64,
    "momentum": 0.85,
    "evaluate": True,
    "pin_memory": True,
    "seed": 2**62,
    "epochs": 3,
    "data_dir": "~/data [old]; rm",
}


@pytest.mark.parametrize(
    ("phase", "given", "expected"),
    [
        (Phase.DATA_WAIT, {}, {"loader": ("sample", "batch")}),
        (Phase.DATA_WAIT, {"loader": "batch"}, {"num_workers": (2, 4)}),
        (Phase.DATA_WAIT, {"loader": "batch", "num_workers": 0}, {"num_workers": (0, 1)}),
        (Phase.LOADER_START, {}, {"persistent_workers": (False, True)}),
        (Phase.EVALUATION, {}, {"evaluate": (True, False)}),
        (Phase.CHECKPOINT, {"checkpoint_every": 5}, {"checkpoint_every": (5, 0)}),
        (Phase.FORWARD, {}, {"channels_last": (False, True)}),
        (Phase.FORWARD, {"channels_last": True}, {"precision": ("float32", "bf16")}),
    ],
)
def test_the_printed_command_is_the_same_run_with_one_change(
    phase: Phase, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    it = record(epoch(1), epoch(2, spending(phase, 0.5)), settings={**AS_TYPED, **given})

    found = limit_finding(it)

    assert found is not None
    assert changes(it, found.next_command) == expected


def test_a_users_own_data_is_never_sent_to_a_loader_that_cannot_read_it() -> None:
    it = record(
        epoch(1), epoch(2, spending(Phase.DATA_WAIT, 0.5)), data_name="data", num_classes=None
    )

    found = limit_finding(it)

    assert found is not None
    assert changes(it, found.next_command) == {"num_workers": (2, 4)}


@pytest.mark.parametrize(
    "name",
    [
        "a b.py:f",
        "$HOME.py:f",
        "f(1)[2]*?#~;&|<>`x`.py:f",
        'say "hello".py:f',
        "dätä.py:f",
        "it's.py:f",
        "a\tb.py:f",
        "a\nb.py:f",
    ],
)
def test_a_name_survives_the_shell(name: str) -> None:
    it = record(epoch(1), settings={"model": name, "data_dir": name})

    found = limit_finding(it)

    assert found is not None
    assert changes(it, found.next_command) == {"channels_last": (False, True)}


@pytest.mark.parametrize("name", ["{a,b}.py:f", "a!b.py:f"])
def test_what_a_shell_would_expand_is_quoted(name: str) -> None:
    found = limit_finding(record(epoch(1), settings={"model": name}))

    assert found is not None
    assert shlex.quote(name) in (found.next_command or "")


@drawn(st.floats(1e-9, 100.0), st.floats(0, 1000.0))
def test_a_number_is_printed_with_all_its_digits(lr: float, weight_decay: float) -> None:
    it = record(epoch(1), settings={"lr": lr, "weight_decay": weight_decay})

    found = limit_finding(it)

    assert found is not None
    assert changes(it, found.next_command) == {"channels_last": (False, True)}


@pytest.mark.parametrize(
    ("phase", "given"),
    [
        (Phase.DATA_WAIT, {"loader": "batch", "num_workers": 512}),
        (Phase.DATA_WAIT, {"loader": "device"}),
        (Phase.LOADER_START, {"persistent_workers": True}),
        (Phase.LOADER_START, {"num_workers": 0}),
        (Phase.CHECKPOINT, {}),
        (Phase.LOGGING, {}),
        (Phase.FORWARD, {"channels_last": True, "precision": "bf16"}),
    ],
)
def test_where_no_change_can_help_no_command_is_printed(
    phase: Phase, given: dict[str, Any]
) -> None:
    found = limit_finding(record(epoch(1), epoch(2, spending(phase, 0.5)), settings=given))

    assert found is not None
    assert found.next_command is None


def test_a_run_that_did_not_move_is_not_sent_to_repeat_itself() -> None:
    it = record(epoch(1, correct=1000, loss=2.3), settings={"lr": 0})

    found = learning_finding(it)

    assert found is not None
    assert found.next_command is None or changes(it, found.next_command)
