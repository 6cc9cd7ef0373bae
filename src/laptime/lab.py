"""The lab: what is asked of it, how far each part is, and what all of them found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from laptime.census import Inspection
from laptime.record import RunRecord
from laptime.settings import Frozen, RunSettings
from laptime.study import StudyRecord

SCHEMA = 1
"""Number of the schema of a lab's own file."""

EMBEDDED = "embedded set"
"""What the data that come with laptime are called."""

TRAIN_SAMPLES = 50_000
"""Training images of CIFAR-10."""

QUESTIONS = {
    "C1, C2": "Train, and say per epoch how long loading, training and the whole took.",
    "C3, C4": "How many loader workers; one worker against the best number, and why.",
    "C5": "The average epoch on each device, with the best number of workers.",
    "C6": "Five optimizers at the same learning rate: epoch time, loss, top-1.",
    "C7": "The same training without batch norm.",
    "Q1 to Q4": "What the assigned model is made of: layers, sizes, parameters, gradients.",
}
"""The parts in their order, and what each asks."""

RUN, INSPECTION = "C1, C2", "Q1 to Q4"
"""The part that is one run, and the one that trains nothing."""

STUDIES = {"C3, C4": "workers", "C5": "devices", "C6": "optimizers", "C7": "batchnorm"}
"""The parts that are studies."""

PART_OF = {
    **{word: part for part in (RUN, *STUDIES) for word in part.split(", ")},
    **dict.fromkeys(("Q1", "Q2", "Q3", "Q4"), INSPECTION),
}
"""What people call a part, and the part that it is in."""

Scale = Literal["quick", "full"]

GRIDS: Mapping[Scale, tuple[int, ...]] = {
    "quick": (0, 1, 2),
    "full": (0, 1, 2, 4, 8, 12, 16),
}
"""The worker counts of C3."""

PartStatus = Literal["not_begun", "running", "completed", "interrupted", "failed"]


def _in_order(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts in the lab's order, each once."""
    unknown = set(given) - set(QUESTIONS)
    if unknown:
        raise ValueError(f"{min(unknown)!r} is no part of the lab")
    return tuple(part for part in QUESTIONS if part in given)


class LabRequest(Frozen):
    """What is asked of the lab: written first, so that it goes on without being asked again."""

    settings: RunSettings
    scale: Scale
    seeds: Annotated[int, Field(ge=1)] = 1
    """Training runs an arm in C6 and C7; fewer than five give a table and no verdict."""
    blocks: Annotated[int, Field(ge=1)] = 5
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    only: Annotated[tuple[str, ...], AfterValidator(_in_order)] = ()
    """The parts that are wanted; empty: all of them."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts to be done, in order."""
        return self.only or tuple(QUESTIONS)


class LabPart(Frozen):
    """How far one part is."""

    part: str
    kind: Literal["run", "study", "inspection"]
    path: str | None = None
    """Of what it left, relative to the lab's directory; None before there is something."""
    status: PartStatus = "not_begun"
    reason: str | None = None
    """Why it did not complete, or what is to be known of how it did; in one line."""
    wall_s: float = 0.0
    """Of all times that it was worked on."""
    expected_s: float | None = None
    """As said before the first part; None where no first look was possible."""
    least_s: float | None = None
    """With the fewest turns in every block ..."""
    most_s: float | None = None
    """... and with the most."""

    @property
    def question(self) -> str:
        """What it asks."""
        return QUESTIONS[self.part]


class LabRecord(Frozen):
    """Everything that a lab says of itself; what its parts found stands with them."""

    schema_number: int = SCHEMA
    id: str
    request: LabRequest
    parts: tuple[LabPart, ...]
    expected_s: float | None = None
    """Of all parts, as said before the first."""
    wall_s: float = 0.0
    """Of all times that the lab was worked on, the first look included."""
    started: str
    """UTC, ISO 8601."""
    laptime: str
    """Version."""
    command: str
    """What was typed."""

    @property
    def scale(self) -> Scale:
        """Quick or full."""
        return self.request.scale

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of all parts, keyed by the flags' names; C3 may choose another count."""
        return self.request.settings.flat()

    @property
    def status(self) -> PartStatus:
        """That of the part that is worst off; completed when all are."""
        found = {part.status for part in self.parts}
        order: tuple[PartStatus, ...] = ("running", "failed", "interrupted", "not_begun")
        return next((status for status in order if status in found), "completed")

    def part(self, name: str) -> LabPart:
        """Return the part of that name."""
        return next(part for part in self.parts if part.part == name)

    def missing(self) -> tuple[LabPart, ...]:
        """Return the parts that did not complete."""
        return tuple(part for part in self.parts if part.status != "completed")

    def document(self) -> dict[str, Any]:
        """Return the record as printed in the document of ``laptime lab --json``."""
        asked = self.request
        return {
            "schema": self.schema_number,
            "id": self.id,
            "status": self.status,
            "scale": self.scale,
            "settings": dict(self.settings),
            "seeds": asked.seeds,
            "blocks": asked.blocks,
            "parts": [part.model_dump(mode="json") for part in self.parts],
            "expected_s": self.expected_s,
            "wall_s": self.wall_s,
            "started": self.started,
            "laptime": self.laptime,
            "command": self.command,
        }


@dataclass(frozen=True)
class LabFindings:
    """A lab and what its parts found so far."""

    record: LabRecord
    run: RunRecord | None
    """Of C1 and C2."""
    studies: Mapping[str, StudyRecord]
    """By name: workers, devices, optimizers, batchnorm."""
    inspection: Inspection | None
    fit_reasons: tuple[str, ...]
    """Why it is not fit to hand in; empty when it is."""

    def of(self, part: str) -> RunRecord | StudyRecord | Inspection | None:
        """Return what a part found; None where it has found nothing yet."""
        if part in STUDIES:
            return self.studies.get(STUDIES[part])
        return self.run if part == RUN else self.inspection


def new_parts(request: LabRequest) -> tuple[LabPart, ...]:
    """Return the parts that are asked for, none of them begun."""
    return tuple(LabPart(part=part, kind=_kind(part)) for part in request.parts)


def _kind(part: str) -> Literal["run", "study", "inspection"]:
    return "run" if part == RUN else "inspection" if part == INSPECTION else "study"


def fit_reasons(
    record: LabRecord, run: RunRecord | None, studies: Iterable[StudyRecord] = ()
) -> tuple[str, ...]:
    """Return why a lab is not fit to hand in; empty when it is."""
    settings = record.request.settings
    reasons = unfit_reasons(settings, run) if run else reductions(settings)
    if run is None and EMBEDDED in {study.data_label for study in studies}:
        reasons.append(f"data is {EMBEDDED}, not CIFAR-10")
    reasons += [f"{part} left out" for part in QUESTIONS if part not in record.request.parts]
    for part in record.missing():
        if run is None or part.part != RUN:
            because = f" ({part.reason})" if part.reason else ""
            reasons.append(f"{part.part} is {part.status.replace('_', ' ')}{because}")
    return tuple(reasons)


def unfit_reasons(settings: RunSettings, record: RunRecord) -> list[str]:
    """Return why results on the data of a run are not fit to hand in; empty when they are."""
    reasons = reductions(settings)
    if record.data.name != "cifar10":
        reasons.append(f"data is {record.data.label}, not CIFAR-10")
    elif settings.data.samples is None and record.data.train_samples != TRAIN_SAMPLES:
        reasons.append(
            f"the copy of CIFAR-10 has {record.data.train_samples:,} training images instead of "
            f"{TRAIN_SAMPLES:,}"
        )
    if record.status != "completed":
        reasons.append(f"the run is {record.status.replace('_', ' ')}")
    return reasons


def reductions(settings: RunSettings) -> list[str]:
    """Return, in words, what is smaller than the assignment."""
    assigned, flat = RunSettings().flat(), settings.flat()
    words = {
        "width": f"width {flat['width']} instead of {assigned['width']}",
        "samples": f"{flat['samples'] or 0:,} training images instead of {TRAIN_SAMPLES:,}",
        "batch_size": f"batches of {flat['batch_size']} instead of {assigned['batch_size']}",
        "epochs": f"{flat['epochs']} instead of {assigned['epochs']} epochs",
    }
    return [text for name, text in words.items() if flat[name] != assigned[name]]
