"""What the recorder of a training process found in a script: each fact with its place."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from laptime.record import Nanoseconds
from laptime.settings import Frozen

After = Literal[
    "loading", "transfer", "forward", "backward", "optimizer", "evaluation", "checkpoint", "start"
]  # fmt: skip
"""What time in ``other`` follows."""

Count = Annotated[int, Field(ge=0)]


def _finite(value: object) -> object:
    """Return None for what is no finite number: a script may compute anything."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Finite = Annotated[float | None, BeforeValidator(_finite)]


class Fact(Frozen):
    """Something that the recorder found; ``class`` is a word of the language."""

    model_config = ConfigDict(populate_by_name=True)


class Place(Frozen):
    """A line of the user's own code."""

    path: str
    line: int
    text: str
    """As it is printed: ``train.py:42``."""


class LoaderFact(Fact):
    """A loader that the script iterated over."""

    place: Place | None
    class_name: str = Field(alias="class")
    batch_size: int | None
    num_workers: int
    pin_memory: bool
    persistent_workers: bool
    prefetch_factor: int | None
    batches: int | None
    """Its length; None where it has none."""
    dataset: str
    iterable: bool
    read_at: Place | None = None
    """Where it was last iterated over."""
    training_passes: Count
    evaluation_passes: Count
    start_ns: tuple[Nanoseconds, ...] = ()
    end_ns: tuple[Nanoseconds, ...] = ()


class RootFact(Fact):
    """A module that the script calls, and that owns parameters of an optimizer."""

    class_name: str = Field(alias="class")
    kind: str
    """module, compiled, ddp or scripted."""
    parameters: Count
    calls: Count
    late: bool = False
    """Whether it was found at the first backward: calls before are not counted."""
    place: Place | None
    """Of its first call."""


class OptimizerFact(Fact):
    """An optimizer that took steps."""

    class_name: str = Field(alias="class")
    place: Place | None
    """Where it was made."""
    stepped_at: Place | None
    parameters: Count
    steps: Count
    lr: Finite
    foreach: bool | None
    fused: bool | None


class SyncFact(Fact):
    """A call that waits for the device, at one line."""

    what: str
    """item, cpu, numpy or tolist."""
    place: Place
    count: Count
    ns: Nanoseconds


class SaveFact(Fact):
    """A line that saves checkpoints."""

    place: Place | None
    count: Count
    ns: Nanoseconds


class EvaluationFact(Fact):
    """A line that passes over data without training on it."""

    place: Place | None
    passes: Count
    ns: Nanoseconds


class OtherFact(Fact):
    """A part of ``other``, by what it follows."""

    after: After
    ns: Nanoseconds
    place: Place | None
    """Of the call that it follows."""


class MissingBoundary(Fact):
    """A boundary that was not found: its time stays in ``other``."""

    boundary: Literal["loader", "forward", "backward", "optimizer"]
    reason: str


class Stretch(Fact):
    """Some steps in a row and what they took."""

    steps: Annotated[int, Field(ge=1)]
    wall_ns: Nanoseconds


class HeadroomFact(Fact):
    """Steps on batches of the loader, and the same steps on batches that are in memory already."""

    batches: Count
    """How many were kept and replayed."""
    loaded: tuple[Stretch, ...]
    replayed: tuple[Stretch, ...]


class TransformFact(Fact):
    """A transform of a Compose, in the workers."""

    name: str
    ns: Nanoseconds


class WorkersFact(Fact):
    """What loader workers spent on the samples that they made, summed over them."""

    samples: Count
    batches: Count
    getitem_ns: Nanoseconds
    """In the dataset's ``__getitem__``, transforms included."""
    transforms: tuple[TransformFact, ...] = ()
    collate_ns: Nanoseconds = 0
    queue_ns: Nanoseconds = 0
    """Handing batches over."""


class RecorderRecord(Fact):
    """What the recorder of one training process found, and what it cost."""

    schema_number: int
    pid: int
    rank: int
    world_size: int
    python: str
    executable: str
    torch: str
    argv: tuple[str, ...]
    cwd: str
    device: str
    device_name: str
    threads: int
    interop_threads: int
    start_method: str
    cuda: str | None
    cudnn: str | None
    setup_ns: Nanoseconds
    """From the start of the interpreter to the first epoch."""
    epochs: Count
    steps: Count
    complete: bool
    """Written at the end of the process; false: it was killed."""
    ended: str | None
    loaders: tuple[LoaderFact, ...] = ()
    roots: tuple[RootFact, ...] = ()
    optimizers: tuple[OptimizerFact, ...] = ()
    syncs: tuple[SyncFact, ...] = ()
    saves: tuple[SaveFact, ...] = ()
    evaluations: tuple[EvaluationFact, ...] = ()
    other: tuple[OtherFact, ...] = ()
    missing: tuple[MissingBoundary, ...] = ()
    overhead_ns: Nanoseconds
    """Our own cost in all, calibrated: a lower bound."""
    transitions: Count
    headroom: HeadroomFact | None = None
    workers: WorkersFact | None = None
    notes: tuple[str, ...] = ()
