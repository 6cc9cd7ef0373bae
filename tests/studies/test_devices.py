from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.studies.fakes import ENVIRONMENT, Notes
from tests.studies.trainings import request_of, workshop_in

from laptime.errors import DeviceError, SettingsError
from laptime.settings import build_settings
from laptime.studies.devices import (
    FEWEST_STEPS,
    device_arms,
    found_devices,
    plan_devices,
    run_devices,
)
from laptime.studies.plan import varied
from laptime.studies.runner import open_workshop
from laptime.study import Comparison, StudyRecord, TurnPolicy
from laptime.training import device

BASE = build_settings({"num_workers": 2})
BOTH = ("cpu", "cuda")

GPU = {**ENVIRONMENT, "device": "cuda:0", "device_name": "fake GPU", "cuda": "13.0"}


def fast_gpu(name: str, turn: int) -> int:
    return 600_000_000 if name == "cpu" else 120_000_000


def run(path: Path, devices: tuple[str, ...] = BOTH, **facts: Any) -> StudyRecord:
    """Compare two devices that are not there."""
    request = request_of("devices", BASE, seeds=())
    on_gpu = {"environment": GPU}
    given = {"cuda": on_gpu, "cuda again": on_gpu, "cpu": {}, **facts}
    workshop = workshop_in(path, request, fast_gpu, facts=given)
    return run_devices(workshop, request, find=lambda asked: devices)


def ratio(record: StudyRecord) -> Comparison:
    (row,) = [row for row in record.comparisons if (row.a, row.b) == ("cpu", "cuda")]
    return row


def test_arms_differ_in_the_device_and_in_nothing_else() -> None:
    arms = device_arms(BASE, BOTH)

    assert [arm.settings.training.device for arm in arms] == ["cpu", "cuda"]
    assert len({varied(arm.settings, device="cpu") for arm in arms}) == 1
    assert {(a.settings.training.seed, a.settings.loader.num_workers) for a in arms} == {(0, 2)}


def test_the_fastest_device_is_the_baseline_and_the_slow_one_runs_fewer_steps() -> None:
    two = plan_devices(BASE, BOTH, 5, TurnPolicy())
    one = plan_devices(BASE, ("cpu",), 5, TurnPolicy())

    assert (two.baseline, two.turns.min_steps) == ("cuda", FEWEST_STEPS)
    assert [arm.name for arm in two.arms] == ["cpu", "cuda", "cuda again"]
    assert [arm.name for arm in one.arms] == ["cpu"]
    assert one.turns.min_steps == TurnPolicy().min_steps
    assert two.seeds == ()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [("precision", "tf32", "--precision float32"), ("timing", "events", "--timing auto")],
)
def test_what_only_one_of_the_devices_has_is_refused(name: str, value: str, remedy: str) -> None:
    with pytest.raises(SettingsError, match=remedy):
        device_arms(varied(BASE, **{name: value}), BOTH)
    assert device_arms(varied(BASE, **{name: value}), ("cpu",))


def test_a_ratio_is_stated_where_the_first_losses_agree(tmp_path: Path) -> None:
    record = run(tmp_path)

    row = ratio(record)
    assert (row.verdict, row.ratio) == ("slower", pytest.approx(5.0, rel=0.01))
    assert record.details["losses_agree"] is True
    assert record.details["missing"] is None
    assert record.details["devices"] == ["cpu", "cuda"]


def test_no_ratio_is_stated_where_they_do_not(tmp_path: Path) -> None:
    record = run(tmp_path, cpu={"first_losses": [2.3, 2.25]})

    assert (ratio(record).verdict, ratio(record).reason) == ("not measurable", "losses_differ")
    assert record.details["losses_agree"] is False


def test_losses_that_only_round_differently_agree(tmp_path: Path) -> None:
    record = run(tmp_path, cpu={"first_losses": [2.3001, 2.2002]})

    assert ratio(record).verdict == "slower"


def test_an_epoch_of_which_a_part_was_timed_is_called_extrapolated(tmp_path: Path) -> None:
    record = run(tmp_path, cpu={"steps_per_epoch": 391.0})

    found = record.details["extrapolated"]
    assert found["cpu"] == {"timed_steps": 4 * 5, "steps_per_epoch": 391.0}
    cpu = record.result("cpu").epoch_s
    assert cpu is not None
    assert cpu.low is not None
    assert cpu.estimate == pytest.approx(391 * 0.6, rel=0.01)


def test_an_epoch_that_was_timed_whole_is_not(tmp_path: Path) -> None:
    record = run(tmp_path, cpu={"steps_per_epoch": 20.0})

    assert record.details["extrapolated"]["cpu"] is None


def test_one_device_is_timed_alone_and_says_what_the_other_would_need(tmp_path: Path) -> None:
    record = run(tmp_path, ("cpu",))

    assert [arm.name for arm in record.arms] == ["cpu"]
    assert record.result("cpu").epoch_s is not None
    assert record.details["losses_agree"] is None
    missing = record.details["missing"]
    assert missing.startswith("Only the CPU was timed: torch finds no GPU here (torch ")
    assert missing.endswith("`laptime study devices` compares the two.")
    json.dumps(record.document(), allow_nan=False)


def test_an_arm_that_runs_out_of_memory_leaves_the_other_its_time(tmp_path: Path) -> None:
    from laptime.studies.process import ArmEndedError

    request = request_of("devices", BASE, seeds=())
    full = ArmEndedError("out_of_memory", "CUDA out of memory")
    ends = {name: {"turn": full} for name in ("cuda", "cuda again")}
    workshop = workshop_in(tmp_path, request, fast_gpu, ends)

    record = run_devices(workshop, request, find=lambda asked: BOTH)

    assert record.result("cpu").epoch_s is not None
    assert record.result("cuda").outcomes() == {"out_of_memory": 5}
    assert ratio(record).verdict == "not measurable"


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        ({"cpu"}, "auto", ("cpu",)),
        ({"cpu"}, "cpu", ("cpu",)),
        ({"cpu", "cuda"}, "auto", ("cpu", "cuda")),
        ({"cpu", "cuda", "cuda:1"}, "cuda:1", ("cpu", "cuda:1")),
        ({"cpu", "mps"}, "auto", ("cpu", "mps")),
    ],
)
def test_the_devices_that_torch_finds_are_compared(
    there: set[str], asked: str, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(name: str) -> None:
        if name not in there:
            raise DeviceError(f"device is {name!r}, but torch finds none.")

    monkeypatch.setattr(device, "choose_device", choose)

    assert found_devices(asked) == expected


def test_a_device_that_is_asked_for_and_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: False)

    with pytest.raises(DeviceError, match="torch finds no CUDA device"):
        found_devices("cuda")


@pytest.mark.slow
def test_a_tiny_study_times_the_devices_of_this_machine(tmp_path: Path) -> None:
    tiny = {"width": 1, "samples": 96, "batch_size": 16, "loader": "batch", "num_workers": 0}
    base = build_settings({**tiny, "data": "synthetic"})
    policy = TurnPolicy(min_steps=2, min_s=0.0, min_turns=2, max_turns=2)
    request = request_of("devices", base, seeds=(), blocks=1, turns=policy)
    directory = workshop_in(tmp_path, request).directory

    record = run_devices(open_workshop(directory, Notes()), request)

    assert record.status == "completed"
    assert all(arm.outcomes() == {"completed": 1} for arm in record.arms)
    assert record.details["losses_agree"] in {True, None}
    assert record.environment is not None
