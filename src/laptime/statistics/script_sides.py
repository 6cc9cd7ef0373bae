"""Two runs of scripts against each other: the ratio of their times, and never a verdict."""

from __future__ import annotations

import shlex
from typing import Any

from laptime.script import ProcessRecord, ScriptRecord
from laptime.script_facts import LoaderFact
from laptime.statistics.contrast import Contrast, Quantity, contrast_sides
from laptime.statistics.script_evidence import evidence_of
from laptime.statistics.sides import Side, once, with_means

_LOADER = (
    "batch_size", "num_workers", "prefetch_factor", "pin_memory", "persistent_workers", "dataset"
)  # fmt: skip

_MACHINE = (
    "python", "torch", "threads", "interop_threads", "start_method", "device", "device_name",
    "cuda", "cudnn",
)  # fmt: skip
"""Conditions that the recorder knows; a run of our own is held to more of them."""


def contrast_scripts(
    a: ScriptRecord, b: ScriptRecord, quantity: Quantity = "epoch", *, uncontrolled: bool = False
) -> Contrast:
    """Compare two runs of scripts as two single runs are: a ratio of means of steady times."""
    sides = script_side(a), script_side(b)
    if any(side.conditions.get("samples") is None for side in sides):
        sides = _without_samples(sides[0]), _without_samples(sides[1])
    return contrast_sides(sides, quantity, uncontrolled=uncontrolled)


def _without_samples(side: Side) -> Side:
    """Return a side that says nothing of how much an epoch trains on."""
    kept = {name: value for name, value in side.conditions.items() if name != "samples"}
    return side.model_copy(update={"conditions": kept})


def script_side(record: ScriptRecord) -> Side:
    """Return a script's run as one side; what its command says stands for its settings."""
    status, process = record.status, record.main
    command = shlex.join(status.command)
    last = record.epochs[-1] if record.epochs else None
    evidence = evidence_of(process) if process else None
    is_steady = evidence is not None and evidence.kind != "cold"
    side = Side(
        id=record.id,
        directory=record.directory,
        status=status.status,
        reason=status.reason,
        command=command,
        settings={"command": command, **(_settings(process) if process else {})},
        conditions=_conditions(process) if process else {},
        epochs=record.epochs,
        step_s=once(evidence.step_s if evidence and is_steady else None),
        loss=once(last.loss if last and last.complete else None),
        outcomes={status.status: 1},
        started=status.started,
    )
    return with_means(side)


def _settings(process: ProcessRecord) -> dict[str, Any]:
    """Return what the recorder saw of the script's settings."""
    loader: LoaderFact | None = process.loader
    found = {name: getattr(loader, name) for name in _LOADER} if loader else {}
    steps = max(process.recorder.optimizers, key=lambda fact: fact.steps, default=None)
    return found | ({"optimizer": steps.class_name, "lr": steps.lr} if steps else {})


def _conditions(process: ProcessRecord) -> dict[str, Any]:
    """Return what must be the same: machine, software, and how much an epoch trains on."""
    sizes = {epoch.samples for epoch in process.steady}
    machine = {name: getattr(process.recorder, name) for name in _MACHINE}
    return {**machine, "samples": sizes.pop() if len(sizes) == 1 else None}
