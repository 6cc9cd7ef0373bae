"""The lab's questions, in order; so far the training and its times (C1, C2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from laptime.record import RunRecord
from laptime.settings import RunSettings, build_settings
from laptime.training.listener import Listener
from laptime.training.loop import train

Scale = Literal["quick", "full"]

TRAIN_SAMPLES = 50_000
"""Training images of CIFAR-10."""

QUICK: dict[str, Any] = {"width": 16, "samples": 5000}
"""What quick scale reduces; all else is as assigned."""


@dataclass(frozen=True)
class Section:
    """One part of the lab: what it asks and what was measured."""

    part: str
    question: str
    record: RunRecord


def lab_settings(scale: Scale, given: Mapping[str, Any]) -> RunSettings:
    """Return the assignment's settings, or the quick version of them."""
    return build_settings({**(QUICK if scale == "quick" else {}), **given})


def reductions(settings: RunSettings) -> list[str]:
    """Return, in words, what is smaller than the assignment."""
    assigned, flat = RunSettings().flat(), settings.flat()
    words = {
        "width": f"width {flat['width']} instead of {assigned['width']}",
        "samples": f"{flat['samples'] or 0:,} training images instead of 50,000",
        "epochs": f"{flat['epochs']} epochs instead of {assigned['epochs']}",
    }
    return [text for name, text in words.items() if flat[name] != assigned[name]]


def unfit_reasons(settings: RunSettings, record: RunRecord) -> list[str]:
    """Return why the results are not fit to hand in; empty when they are."""
    reasons = reductions(settings)
    if record.data.name != "cifar10":
        reasons.append(f"data is {record.data.label}, not CIFAR-10")
    elif settings.data.samples is None and record.data.train_samples != TRAIN_SAMPLES:
        reasons.append(
            f"the copy of CIFAR-10 has {record.data.train_samples:,} training images instead of "
            f"{TRAIN_SAMPLES:,}"
        )
    if record.status != "completed":
        reasons.append(f"the run is {record.status}")
    return reasons


def run_lab(settings: RunSettings, runs_dir: Path, listener: Listener) -> list[Section]:
    """Answer the lab's questions, one after another."""
    record = train(settings, runs_dir, listener)
    return [
        Section(
            "C1, C2",
            "Train, and say per epoch how long loading, training and the whole took.",
            record,
        )
    ]
