"""The device of a run: found, checked, and how it is timed."""

from __future__ import annotations

import torch

from laptime.errors import DeviceError
from laptime.record import Mode
from laptime.settings import TrainingSettings


def choose_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        DeviceError: It is not there.
    """
    if name == "auto":
        return torch.device(_fastest())
    if name.startswith("cuda"):
        _check_cuda(name)
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device is 'mps', but torch finds no Apple GPU. Use --device cpu.")
    device = torch.device(name)
    return torch.device("cuda", 0) if name == "cuda" else device


def choose_mode(settings: TrainingSettings, device: torch.device) -> Mode:
    """Return the timing mode; ``auto`` is host on a CPU, events on CUDA, sync elsewhere.

    Raises:
        DeviceError: The device has no events.
    """
    if settings.timing == "auto":
        return {"cpu": "host", "cuda": "events"}.get(device.type, "sync")  # type: ignore[return-value]
    if settings.timing == "events" and device.type != "cuda":
        raise DeviceError(
            f"timing is 'events', but {device.type} has no events. Use --timing auto."
        )
    return settings.timing


def check_precision(settings: TrainingSettings, device: torch.device) -> None:
    """Refuse an arithmetic that the device does not have.

    Raises:
        DeviceError: The device does not have it.
    """
    if settings.precision == "tf32" and device.type != "cuda":
        raise DeviceError(
            f"precision is 'tf32', but {device.type} does not have it. "
            f"Use --precision float32 or bf16."
        )


def _fastest() -> str:
    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_cuda(name: str) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise DeviceError(f"device is {name!r}, but torch finds no CUDA device. Use --device cpu.")
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        raise DeviceError(
            f"device is {name!r}, but there are {count} CUDA devices, cuda:0 to cuda:{count - 1}."
        )
