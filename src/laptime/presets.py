"""Named settings: the lab as it is assigned, and what a tuning has proven or else often helps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from laptime.errors import StoreError
from laptime.files import checked, make_directory, read_json, write_json
from laptime.host_memory import can_keep_memory
from laptime.settings import Frozen, RunSettings, build_settings

PRESETS = ("lab", "fast")

FAST: Mapping[str, Mapping[str, Any]] = {
    "cpu": {"loader": "batch", "keep_memory": True, "channels_last": True, "fused": True},
    "cuda": {
        "loader": "device", "channels_last": True, "fused": True, "compile": True,
        "precision": "bf16", "cudnn_benchmark": True,
    },
    "mps": {"loader": "batch", "channels_last": True},
}  # fmt: skip
"""By type of device, where no tuning has been: what often helps, and is not proven here. In the
order in which `benchmarks/training.py` adds them up."""


SPEED = (
    "loader", "num_workers", "prefetch_factor", "persistent_workers", "pin_memory", "fused",
    "precision", "channels_last", "compile", "cuda_graphs", "cudnn_benchmark", "threads",
    "keep_memory",
)  # fmt: skip
"""Settings that a tuning may change: they decide how fast a job is and not which one."""


class Machine(NamedTuple):
    """What a tuning's result holds for."""

    device_name: str
    cpus: int
    torch: str

    def __str__(self) -> str:
        return f"{self.device_name}, {self.cpus} CPUs, torch {self.torch}"


class Proven(Frozen):
    """What a tuning of the built-in job has proven on a machine."""

    machine: str
    job: str
    changes: tuple[tuple[str, bool | int | str], ...]
    """Settings that are not as in the lab."""
    words: str
    """The gain with its interval."""
    day: str


class _Known(Frozen):
    proven: tuple[Proven, ...] = ()


def build_preset(
    name: str, asked: RunSettings, machine: Machine, device: str
) -> tuple[RunSettings, str]:
    """Return the settings of a preset and, in words, where they come from; empty for the lab.

    Args:
        name: lab or fast.
        asked: What the command line says; only what the job is matters here.
        machine: Where it is to run.
        device: cpu, cuda or mps.
    """
    if name == "lab":
        return RunSettings(), ""
    proven = recall(machine, asked)
    if proven is not None:
        what = _listed(dict(proven.changes))
        source = f"as tuned on this machine on {proven.day}: {what} ({proven.words})"
        return build_settings(dict(proven.changes)), f"preset fast, {source}."
    values = dict(FAST[device])
    if not can_keep_memory():
        values.pop("keep_memory", None)
    said = f"preset fast: {_listed(values)}. Not tuned on this machine; `laptime tune` does that."
    if values.get("compile"):
        said += " Compiling takes a minute or more before it gains: not for short runs."
    return build_settings(values), said


def remember(proven: Proven) -> Path:
    """Keep what a tuning has proven, in place of what is known of its machine and job."""
    others = tuple(p for p in _known() if (p.machine, p.job) != (proven.machine, proven.job))
    path = _path()
    make_directory(path.parent)
    write_json(path, _Known(proven=(*others, proven)).model_dump(mode="json"))
    return path


def speed_of(settings: RunSettings) -> tuple[tuple[str, Any], ...]:
    """Return what decides a job's speed and is not as in the lab."""
    lab, flat = RunSettings().flat(), settings.flat()
    return tuple((name, flat[name]) for name in SPEED if flat[name] != lab[name])


def recall(machine: Machine, settings: RunSettings) -> Proven | None:
    """Return what has been proven of a job on a machine; None where nothing has."""
    wanted = (str(machine), job_words(settings))
    return next((p for p in _known() if (p.machine, p.job) == wanted), None)


def job_words(settings: RunSettings) -> str:
    """Return what of a job decides which settings make it fast."""
    model, loader = settings.model, settings.loader
    optimizer, device = settings.optimizer.optimizer, settings.training.device
    return (
        f"{model.model}, width {model.width}, norm {model.norm}, batch {loader.batch_size}, "
        f"{optimizer}, device {device}"
    )


def _known() -> tuple[Proven, ...]:
    path = _path()
    if not path.exists():
        return ()
    try:
        return checked(_Known, read_json(path), path, "cache of tunings").proven
    except StoreError:  # a cache: what it held can be measured again
        return ()


def _path() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "laptime" / "tuned.json"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(name if value is True else f"{name} {value}" for name, value in values.items())
