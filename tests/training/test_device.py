from __future__ import annotations

from typing import Any

import pytest
import torch

from laptime.errors import DeviceError
from laptime.settings import TrainingSettings
from laptime.training.device import check_precision, choose_device, choose_mode


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes torch see other devices."""

    def has(*, cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


@pytest.mark.parametrize(
    ("devices", "chosen"),
    [
        ({}, "cpu"),
        ({"mps": True}, "mps"),
        ({"cuda": 2}, "cuda:0"),
        ({"cuda": 1, "mps": True}, "cuda:0"),
    ],
)
def test_auto_takes_cuda_then_mps_then_the_cpu(
    machine: Any, devices: dict[str, Any], chosen: str
) -> None:
    machine(**devices)

    assert choose_device("auto") == torch.device(chosen)


def test_the_cpu_is_taken_where_it_is_asked_for(machine: Any) -> None:
    machine(cuda=1)

    assert choose_device("cpu") == torch.device("cpu")


def test_cuda_without_a_number_is_the_first_device(machine: Any) -> None:
    machine(cuda=2)

    assert choose_device("cuda") == torch.device("cuda", 0)
    assert choose_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("devices", "name", "expected"),
    [
        ({}, "cuda", "device is 'cuda', but torch finds no CUDA device. Use --device cpu."),
        ({}, "cuda:0", "device is 'cuda:0', but torch finds no CUDA device"),
        ({"cuda": 2}, "cuda:2", "device is 'cuda:2', but there are 2 CUDA devices, cuda:0 to cuda"),
        ({"cuda": 1}, "mps", "device is 'mps', but torch finds no Apple GPU. Use --device cpu."),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    machine: Any, devices: dict[str, Any], name: str, expected: str
) -> None:
    machine(**devices)

    with pytest.raises(DeviceError, match=expected):
        choose_device(name)


@pytest.mark.parametrize(
    ("device", "mode"), [("cpu", "host"), ("cuda:0", "events"), ("mps", "sync"), ("meta", "sync")]
)
def test_a_device_is_timed_as_it_can_be(device: str, mode: str) -> None:
    assert choose_mode(TrainingSettings(), torch.device(device)) == mode


@pytest.mark.parametrize("timing", ["host", "sync", "off"])
@pytest.mark.parametrize("device", ["cpu", "cuda:0", "mps"])
def test_a_mode_that_is_asked_for_is_taken(device: str, timing: Any) -> None:
    assert choose_mode(TrainingSettings(timing=timing), torch.device(device)) == timing


def test_only_cuda_has_events() -> None:
    events = TrainingSettings(timing="events")

    assert choose_mode(events, torch.device("cuda", 0)) == "events"
    for device in ("cpu", "mps"):
        with pytest.raises(DeviceError, match=f"timing is 'events', but {device} has no events"):
            choose_mode(events, torch.device(device))


def test_only_cuda_has_tf32() -> None:
    settings = TrainingSettings(precision="tf32")

    check_precision(settings, torch.device("cuda", 0))
    for device in ("cpu", "mps"):
        with pytest.raises(DeviceError, match=f"precision is 'tf32', but {device} does not"):
            check_precision(settings, torch.device(device))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_other_arithmetic_is_everywhere(precision: Any) -> None:
    for device in ("cpu", "cuda:0", "mps"):
        check_precision(TrainingSettings(precision=precision), torch.device(device))
