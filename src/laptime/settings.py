"""Frozen settings of a run: model, data, loader, optimizer, training, timing.

The field names are the flags of the command line and the keys of a TOML file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from laptime.errors import SettingsError


class Frozen(BaseModel):
    """The one base of settings and records: frozen, unknown keys refused, no NaN."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        defer_build=True,  # `train --help` shows the fields and validates nothing
    )


class Described(Frozen):
    """Settings whose docstrings under the fields are the help text."""

    model_config = ConfigDict(use_attribute_docstrings=True)


Name = Annotated[str, Field(min_length=1, max_length=4096)]


class ModelSettings(Described):
    """What is trained."""

    model: Name = "resnet18"
    """resnet18, or a factory of your own: package.module:factory or file.py:factory."""

    width: Annotated[int, Field(ge=1, le=512)] = 64
    """Channels of resnet18's first group; the groups have 1, 2, 4 and 8 times as many."""

    norm: Literal["batch", "none"] = "batch"
    """Batch normalisation after each convolution of resnet18, or nothing."""


class DataSettings(Described):
    """What it is trained on."""

    data: Name = "auto"
    """auto, synthetic, cifar10, a path, or a factory: package.module:factory or file.py:factory."""

    data_dir: Name | None = None
    """Where auto and cifar10 look for CIFAR-10 (else $LAPTIME_DATA, else ./data)."""

    samples: Annotated[int, Field(ge=1, le=10**9)] | None = None
    """Train on this many samples only: a subset that does not depend on the seed."""

    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Keep this fraction of the training samples out, as the test set; the same for every seed."""


class LoaderSettings(Described):
    """How batches reach the training loop."""

    loader: Literal["sample", "batch", "device"] = "sample"
    """sample: image by image, as people write it; batch: whole batches; device: on the device."""

    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    """Samples in one step on one device."""

    num_workers: Annotated[int, Field(ge=0, le=512)] = 2
    """Loader processes, or threads of the batch loader; 0 loads in the training process."""

    prefetch_factor: Annotated[int, Field(ge=1, le=1024)] = 2
    """Batches that each worker prepares in advance."""

    persistent_workers: bool = False
    """Keep the workers from one epoch to the next."""

    pin_memory: bool = False
    """Copy batches to page-locked memory, from where a GPU can fetch them by itself."""


LAB_OPTIMIZERS = ("sgd", "nesterov", "adagrad", "adadelta", "adam")
"""What the assignment compares."""


class OptimizerSettings(Described):
    """How the weights are updated."""

    optimizer: Literal["sgd", "nesterov", "adagrad", "adadelta", "adam", "adamw"] = "sgd"
    """The update rule; nesterov is SGD with Nesterov momentum."""

    lr: Annotated[float, Field(ge=0, le=1e6)] = 0.1
    """Learning rate."""

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of sgd and nesterov; the others have none."""

    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 5e-4
    """Weight decay."""

    schedule: Literal["constant", "onecycle"] = "constant"
    """Of the learning rate: constant, or onecycle, up from 0 in a fifth of all steps and down."""

    fused: bool = False
    """Update all weights in one pass over memory, torch's fused form; adadelta has none."""


class TrainingSettings(Described):
    """How long, where and how exactly."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    """Passes over the training set."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:\d{1,3}|mps)$")] = "auto"
    """auto, cpu, cuda, cuda:N or mps; auto takes the fastest that is found."""

    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Arithmetic: float32, tf32 (matrix products on recent GPUs), bf16 (autocast)."""

    channels_last: bool = False
    """Store images and weights with the channel as the last dimension in memory."""

    compile: bool = False
    """Compile the model with torch.compile."""

    cuda_graphs: bool = False
    """Replay the compiled model as CUDA graphs, torch.compile's mode reduce-overhead; CUDA only."""

    cudnn_benchmark: bool = False
    """Let cuDNN time its algorithms for each new shape, and take the fastest."""

    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """CPU threads of torch; its own choice where none is given."""

    keep_memory: bool = False
    """Keep host memory that is freed for the next step, not give it back to the system; glibc."""

    evaluate: bool = False
    """Measure loss and accuracy on the test set after each epoch."""

    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Seed of weights, shuffles and augmentations."""

    deterministic: bool = False
    """Ask torch for deterministic algorithms only."""

    checkpoint_every: Annotated[int, Field(ge=0, le=10**9)] = 0
    """Write a checkpoint every so many steps; 0 at the end of each epoch only."""

    timing: Literal["auto", "host", "events", "sync", "off"] = "auto"
    """auto: host on a CPU, events on CUDA; sync waits at every edge, to validate; off: none."""


class RunSettings(Frozen):
    """Everything that decides what a run computes and how it is timed."""

    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    loader: LoaderSettings = LoaderSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    training: TrainingSettings = TrainingSettings()

    def flat(self) -> dict[str, Any]:
        """Return one dictionary, keyed by the flags' names."""
        return {
            name: value for group in self.model_dump().values() for name, value in group.items()
        }


GROUPS: dict[str, type[Frozen]] = {
    "model": ModelSettings,
    "data": DataSettings,
    "loader": LoaderSettings,
    "optimizer": OptimizerSettings,
    "training": TrainingSettings,
}
"""The groups of :class:`RunSettings`, by the name of their field."""

FIELDS: dict[str, FieldInfo] = {
    name: field for group in GROUPS.values() for name, field in group.model_fields.items()
}
"""Every setting by its name; no name is used twice."""


def build_settings(values: Mapping[str, Any]) -> RunSettings:
    """Build settings from values keyed by flag name; what is missing takes its default.

    Raises:
        SettingsError: A key is unknown or a value is refused.
    """
    for name, value in values.items():
        if name not in FIELDS:
            raise SettingsError(f"{name!r} is not a setting.{suggestion(name, FIELDS)}")
        if isinstance(value, bool) and FIELDS[name].annotation is not bool:
            # pydantic would read it as 1 or 0.
            raise SettingsError(
                f"{name} is {str(value).lower()}, which is no value of it. "
                f"{FIELDS[name].description}"
            )
    grouped = {
        group: {name: values[name] for name in model.model_fields if name in values}
        for group, model in GROUPS.items()
    }
    try:
        settings = RunSettings.model_validate(grouped)
    except ValidationError as error:
        raise SettingsError(_refusal(error.errors()[0])) from None
    if settings.optimizer.optimizer == "nesterov" and settings.optimizer.momentum == 0:
        raise SettingsError(
            "momentum is 0, but nesterov needs some. Use --momentum 0.9, or --optimizer sgd."
        )
    if settings.optimizer.optimizer == "adadelta" and settings.optimizer.fused:
        raise SettingsError("fused is true, but adadelta has no fused form. Leave --fused out.")
    return settings


def suggestion(word: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Return the remedy for an unknown word: the nearest known one, else all of them."""
    near = difflib.get_close_matches(word.lower(), known, n=1)
    return f" Did you mean {near[0]}?" if near else f" Use one of: {', '.join(sorted(known))}."


def choices(name: str) -> tuple[str, ...]:
    """Return the words a setting can take; empty if it is no choice."""
    annotation = FIELDS[name].annotation
    words = get_args(annotation)
    return words if words and all(isinstance(word, str) for word in words) else ()


_NUMBER = re.compile(r"[-+.\w]*\d[-+.\w]*|-?nan|-?inf(inity)?|None|True|False", re.IGNORECASE)
_LONGEST_SHOWN = 60


def _refusal(error: ErrorDetails) -> str:
    """Render pydantic's finding as one line: the field, the value, the remedy."""
    name = str(error["loc"][1])
    value = str(error["input"])
    shown = value if _NUMBER.fullmatch(value) else repr(value)
    if len(shown) > _LONGEST_SHOWN:
        shown = f"{shown[:_LONGEST_SHOWN]}... ({len(value):,} characters)"
    if words := choices(name):
        return f"{name} is {shown}, which is unknown.{suggestion(value[:_LONGEST_SHOWN], words)}"
    return f"{name} is {shown}, but {_requirement(error)}. {FIELDS[name].description}"


def _requirement(error: ErrorDetails) -> str:
    """Say what the value must be."""
    context = error.get("ctx", {})
    if error["type"] == "finite_number" or str(error["input"]).lower() in {"nan", "inf", "-inf"}:
        return "must be a finite number"
    match error["type"]:
        case "greater_than_equal":
            return f"must be {context['ge']:n} or more"
        case "less_than_equal":
            return f"must be {context['le']:,} or less"
        case "less_than":
            return f"must be less than {context['lt']:n}"
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return "must be a whole number"
        case "float_parsing" | "float_type":
            return "must be a number"
        case "bool_parsing" | "bool_type":
            return "must be true or false"
        case "string_pattern_mismatch":
            return "cannot be used"
        case _:
            return error["msg"][0].lower() + error["msg"][1:]
