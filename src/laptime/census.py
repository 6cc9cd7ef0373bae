"""What a model is made of: layers, shapes, parameters, arithmetic, gradients, optimizer state."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from laptime.record import EnvironmentRecord
from laptime.settings import Frozen
from laptime.units import seconds

SCHEMA = 1
"""Number of the schema of an inspection's document."""

FLOPS_PER_MAC = 2
"""A multiply-accumulate is a multiplication and an addition."""

Shape = tuple[int, ...]


class SampleRecord(Frozen):
    """What a model is given: random values of a shape, or random whole numbers."""

    shape: Shape
    """Of one sample, without the batch."""
    tokens: int | None = None
    """Values are whole numbers below this one; None for normally distributed ones."""


class LayerRecord(Frozen):
    """One module of a model, in the order in which a forward pass first calls it."""

    name: str
    """As in ``named_modules``; empty for the model itself."""
    kind: str
    """Class of the module."""
    depth: int
    """How many modules were at work when it was first called: 0 for the model itself."""
    is_leaf: bool
    calls: int
    input_shape: Shape | None
    """Of the first call, without the batch; None where the input is no tensor."""
    output_shape: Shape | None
    parameters: int
    """Elements of the module and all below it; shared ones once."""
    macs: int
    """Multiply-accumulates of one sample in the module and all that it calls, over all calls."""
    kernel: Shape | None = None
    """Of a convolution."""
    is_projection: bool | None = None
    """Of a convolution; None where the flow of tensors could not be followed."""


class Convolutions(Frozen):
    """How many convolution modules there are: each once, however often it is called."""

    total: int
    main_path: int | None
    """Those called that are no projections; None where the flow could not be followed."""
    projections: int | None
    uncalled: int
    """In no forward pass in evaluation mode: on neither path."""
    functions: int
    """Convolutions that are calls of a function and no module; part of no count above."""
    by_kernel: Mapping[str, int]
    by_stage: Mapping[str, int]
    """By the size of the maps that they put out."""


class LinearLayers(Frozen):
    """The linear layers, and the one that a forward pass calls last."""

    total: int
    last: str | None = None
    in_features: int | None = None
    out_features: int | None = None
    last_map: Shape | None = None
    """Shape of the map that it is made from, before pooling; None where there is no such map."""


class Parameters(Frozen):
    """Elements and tensors of a model's parameters; shared ones count once."""

    trainable: int
    frozen: int
    tensors: int
    """Trainable ones."""
    bytes: int
    """Of all."""
    buffers: int
    """Elements that are saved and not trained: running means and variances."""
    buffer_bytes: int


class PassRecord(Frozen):
    """One forward and one backward pass in training mode, over a few random samples."""

    samples: int
    macs: int
    """Multiply-accumulates of both directions, of all samples."""
    input_bytes: int
    saved_bytes: int
    """What forward kept for backward; parameters, buffers and the input apart."""
    gradient_tensors: int
    gradient_elements: int
    nonzero_gradients: int
    """Elements that are not 0: with other samples, or more of them, another number."""


class OptimizerState(Frozen):
    """What exists after one backward pass and one step of an optimizer."""

    settings: str
    """How the optimizer was made, in words."""
    gradient_tensors: int
    gradient_elements: int
    gradient_bytes: int
    nonzero_gradients: int
    """Of the pass with the most samples."""
    state_elements: Mapping[str, int]
    """By kind, step counters among them."""
    step_counters: int
    """Elements of ``state_elements`` that only count steps."""
    state_bytes: int

    @property
    def state_total(self) -> int:
        """Elements of state without the step counters."""
        return sum(self.state_elements.values()) - self.step_counters

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the state holds, step counters apart; sorted."""
        return tuple(sorted(set(self.state_elements) - {STEP}))


STEP = "step"
"""The kind of state that counts steps."""


class CensusRecord(Frozen):
    """Everything that was counted of one model."""

    model: str
    width: int | None
    """Of the built-in model; None for others."""
    norm: str | None
    """The same."""
    sample: SampleRecord
    convolutions: Convolutions
    linear: LinearLayers
    norms: Mapping[str, int]
    """Normalisation layers by class."""
    parameters: Parameters
    macs: int
    """Multiply-accumulates of the forward pass of one sample."""
    layers: tuple[LayerRecord, ...]
    passes: tuple[PassRecord, ...]
    """The one with the fewest samples first."""
    optimizers: Mapping[str, OptimizerState]

    @property
    def flops(self) -> int:
        """FLOPs of the forward pass of one sample."""
        return FLOPS_PER_MAC * self.macs

    @property
    def training_flops(self) -> int:
        """FLOPs of forward and backward of one sample, as counted in both."""
        largest = self.passes[-1]
        return FLOPS_PER_MAC * largest.macs // largest.samples

    def memory_bytes(self, batch_size: int, optimizer: str) -> dict[str, int]:
        """Estimate what a training step holds, part by part; an optimizer's state included.

        What is kept for backward is counted at two batches, and the line through both goes on to
        the batch asked for. Buffers of kernels and the allocator's own waste are not in it.
        """
        few, many = self.passes[0], self.passes[-1]
        slope = (many.saved_bytes - few.saved_bytes) / (many.samples - few.samples)
        saved = many.saved_bytes + slope * (batch_size - many.samples)
        state = self.optimizers[optimizer]
        return {
            "input": many.input_bytes // many.samples * batch_size,
            "saved": max(0, round(saved)),
            "parameters": self.parameters.bytes + self.parameters.buffer_bytes,
            "gradients": state.gradient_bytes,
            "state": state.state_bytes,
        }


class Roof(Frozen):
    """How fast this machine did one thing, try by try."""

    what: str
    """matrix product, convolution, copy."""
    amount: int
    """FLOPs of one try; of a copy the bytes read and written."""
    times_ns: tuple[int, ...]

    @property
    def best_per_s(self) -> float:
        """FLOPs or bytes a second of the fastest try."""
        return self.amount / seconds(min(self.times_ns))

    @property
    def median_per_s(self) -> float:
        """The same of the middle one of all tries; other programs drag it down."""
        return self.amount / seconds(round(median(self.times_ns)))


COPY = "copy"
"""The roof that moves bytes and computes nothing."""


class Inspection(Frozen):
    """What ``laptime inspect`` found: a model, its twin, the machine's roofs."""

    census: CensusRecord
    twin: CensusRecord | None = None
    """The built-in model with the other norm."""
    batch_size: int
    epoch_samples: int
    """Of the epoch that the roofs bound from below."""
    precision: str
    """Arithmetic of the roofs."""
    measured_bytes: int | None = None
    """Peak of the device's allocator in one step; None on a CPU, which has no such counter."""
    roofs: tuple[Roof, ...] = ()
    machine: EnvironmentRecord

    @property
    def optimizer(self) -> str:
        """The optimizer whose step the memory is that of: the first."""
        return next(iter(self.census.optimizers))

    @property
    def epoch_flops(self) -> int:
        """FLOPs of forward and backward over an epoch."""
        return self.census.training_flops * self.epoch_samples

    def fastest(self) -> Roof | None:
        """Return the roof with the most FLOPs a second; None without roofs."""
        arithmetic = [roof for roof in self.roofs if roof.what != COPY]
        return max(arithmetic, key=lambda roof: roof.best_per_s, default=None)

    def epoch_bound_s(self) -> float | None:
        """Return the time that an epoch's arithmetic takes at the fastest rate seen."""
        fastest = self.fastest()
        return None if fastest is None else self.epoch_flops / fastest.best_per_s

    def document(self) -> dict[str, Any]:
        """Return the one JSON document that ``laptime inspect --json`` prints."""
        memory = self.census.memory_bytes(self.batch_size, self.optimizer)
        return {
            "schema": SCHEMA,
            **_model_document(self.census),
            "memory": {
                "batch_size": self.batch_size,
                "optimizer": self.optimizer,
                **{f"{part}_bytes": size for part, size in memory.items()},
                "estimated_bytes": sum(memory.values()),
                "measured_bytes": self.measured_bytes,
            },
            "twin": self.twin and _model_document(self.twin),
            "roofs": [
                {
                    "what": roof.what,
                    "unit": "bytes/s" if roof.what == COPY else "FLOP/s",
                    "best_per_s": roof.best_per_s,
                    "median_per_s": roof.median_per_s,
                    "n": len(roof.times_ns),
                }
                for roof in self.roofs
            ],
            "epoch": {
                "samples": self.epoch_samples,
                "flops": self.epoch_flops,
                "precision": self.precision,
                "bound_s": self.epoch_bound_s(),
            },
            "machine": self.machine.model_dump(mode="json"),
        }


def _model_document(census: CensusRecord) -> dict[str, Any]:
    """Return what was counted of one model; derived figures beside the counted ones."""
    whole = census.model_dump(mode="json")
    linear, sample = whole.pop("linear"), whole.pop("sample")
    return {
        **whole,
        "input_shape": sample["shape"],
        "tokens": sample["tokens"],
        "linear_layers": linear["total"],
        "last_linear": {
            "name": linear["last"],
            "in_features": linear["in_features"],
            "out_features": linear["out_features"],
        },
        "last_map": linear["last_map"],
        "flops": census.flops,
        "training_flops": census.training_flops,
        "optimizers": {
            name: {**whole["optimizers"][name], "state_total": state.state_total}
            for name, state in census.optimizers.items()
        },
    }
