"""Checkpoints: safetensors and JSON, no pickle; the JSON is written last and makes one valid."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn, optim

from laptime.errors import CheckpointError, LaptimeError
from laptime.files import (
    disk_errors,
    read_json,
    remove_file,
    sha256_of,
    write_atomically,
    write_json,
)
from laptime.record import DeviceTimes, PhasesNs
from laptime.settings import Frozen

KEPT = 2
"""Checkpoints kept in a run directory: should the newest be damaged, the one before serves."""


class Cursor(Frozen):
    """Where a run stands: what its epoch has summed up, and how much of the logs is its own."""

    epoch: int
    steps: int
    samples: int
    correct: int
    loss_sum: float
    wall_ns: int
    phases_ns: PhasesNs
    device_ns: DeviceTimes | None = None
    segments: int = 1
    test_loss: float | None = None
    test_correct: int | None = None
    test_samples: int | None = None
    step_rows: int = 0
    """Rows of steps.jsonl that belong to the steps before this point."""
    window_rows: int = 0


class Generators(Frozen):
    """States of the global generators of Python and NumPy: a user's dataset may draw from them."""

    python: tuple[int, tuple[int, ...], float | None]
    numpy: tuple[str, str, int, int, float]


class Declaration(Frozen):
    """What is declared valid: where the run stands, and the checksum of its weights file."""

    cursor: Cursor
    optimizer: str
    weights_sha256: str
    generators: Generators


class _Signed(Frozen):
    """A declaration with its own checksum: a flipped bit in it is found like one in the weights."""

    declared: dict[str, Any]
    sha256: str


def save_checkpoint(
    directory: Path, cursor: Cursor, model: nn.Module, optimizer: optim.Optimizer
) -> Path:
    """Write weights, optimizer and generators, then the declaration that they are valid.

    State of a module that is no tensor is left out.

    Raises:
        StoreError: The disk refuses; earlier checkpoints stay as they are.
    """
    tensors = {**model_tensors(model), **dict(_optimizer_tensors(model, optimizer))}
    tensors |= _generator_tensors()
    declaration = directory / f"epoch-{cursor.epoch:07d}_step-{cursor.steps:010d}.json"
    weights = declaration.with_suffix(".safetensors")
    # A copy of each: safetensors refuses tied weights, which share their memory.
    copies = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(weights, save(copies))
    declared = Declaration(
        cursor=cursor,
        optimizer=type(optimizer).__name__,
        weights_sha256=sha256_of(weights),
        generators=_collect_generators(),
    ).model_dump(mode="json")
    write_json(declaration, {"declared": declared, "sha256": _digest(declared)})
    _keep_newest(declaration)
    return declaration


def checkpoints(directory: Path) -> list[Path]:
    """Return the declarations of the checkpoints in a directory, newest first."""
    return sorted(directory.glob("epoch-*.json"), reverse=True)


def newest_valid(directory: Path) -> tuple[tuple[Path, Cursor] | None, list[str]]:
    """Return the newest checkpoint that is whole, if any, and a line on each damaged one."""
    damaged: list[str] = []
    for declaration in checkpoints(directory):
        try:
            return (declaration, _verified(declaration).cursor), damaged
        except LaptimeError as error:
            damaged.append(str(error))
    return None, damaged


def load_checkpoint(declaration: Path, model: nn.Module, optimizer: optim.Optimizer) -> None:
    """Put weights, optimizer state and generators back, bit by bit.

    Raises:
        CheckpointError: The file is damaged, or belongs to another model or optimizer.
    """
    declared = _verified(declaration)
    if declared.optimizer != type(optimizer).__name__:
        raise CheckpointError(
            f"{declaration.stem} is of another optimizer, {declared.optimizer}. "
            f"Resume with the one that the run was started with."
        )
    try:
        tensors = load_file(declaration.with_suffix(".safetensors"))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{declaration.stem} cannot be read: {error}.") from error
    _restore_model(declaration, model, tensors)
    _restore_optimizer(declaration, model, optimizer, tensors)
    torch.set_rng_state(tensors["generator.torch"])
    if "generator.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["generator.cuda"])
    _restore_generators(declared.generators)


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers that a checkpoint holds, by their keys in it."""
    return {
        f"model.{name}": tensor
        for name, tensor in model.state_dict().items()
        if isinstance(tensor, Tensor)
    }


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def _optimizer_tensors(
    model: nn.Module, optimizer: optim.Optimizer
) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in _trainable(model):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                yield f"optimizer.{key}.{name}", value


def _restore_model(declaration: Path, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    here = model_tensors(model)
    there = {name for name in tensors if name.startswith("model.")}
    for name in sorted(set(here) ^ there):
        has, lacks = ("model", "checkpoint") if name in here else ("checkpoint", "model")
        raise _other_model(declaration, name, f"is in the {has} and not in the {lacks}")
    for name, tensor in here.items():
        saved = tensors[name]
        if saved.shape != tensor.shape or saved.dtype != tensor.dtype:
            raise _other_model(
                declaration,
                name,
                f"is {saved.dtype} {tuple(saved.shape)} there and {tensor.dtype} "
                f"{tuple(tensor.shape)} here",
            )
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(tensors[name])


def _restore_optimizer(
    declaration: Path,
    model: nn.Module,
    optimizer: optim.Optimizer,
    tensors: Mapping[str, Tensor],
) -> None:
    """Fill the optimizer's state with tensors laid out as the optimizer itself would.

    Momentum has its parameter's strides; what safetensors returns is contiguous and not
    aligned, which changes the last bit of later sums.
    """
    by_name = dict(_trainable(model))
    for full_name, saved in tensors.items():
        if not full_name.startswith("optimizer."):
            continue
        key, name = full_name.removeprefix("optimizer.").split(".", 1)
        if name not in by_name:
            raise _other_model(declaration, name, "was trained there and is frozen here")
        parameter = by_name[name]
        like_parameter = saved.shape == parameter.shape
        target = torch.empty_like(parameter, dtype=saved.dtype) if like_parameter else saved.clone()
        optimizer.state[parameter][key] = target.detach().copy_(saved)


def _other_model(declaration: Path, name: str, how: str) -> CheckpointError:
    return CheckpointError(
        f"{declaration.stem} is of another model: {name.removeprefix('model.')!r} {how}. "
        f"Resume with the model that the run was started with."
    )


def _generator_tensors() -> dict[str, Tensor]:
    """Return the states of torch's generators, which dropout and the like draw from."""
    states = {"generator.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["generator.cuda"] = torch.cuda.get_rng_state()
    return states


def _collect_generators() -> Generators:
    kind, key, position, has_gauss, cached = np.random.get_state(legacy=True)
    words = base64.b64encode(np.asarray(key).tobytes()).decode()
    return Generators(
        python=random.getstate(),
        numpy=(str(kind), words, int(position), int(has_gauss), float(cached)),
    )


def _restore_generators(generators: Generators) -> None:
    random.setstate(generators.python)
    kind, words, position, has_gauss, cached = generators.numpy
    numbers = np.frombuffer(base64.b64decode(words), dtype=np.uint32)
    np.random.set_state((kind, numbers, position, has_gauss, cached))


def _verified(declaration: Path) -> Declaration:
    """Return a declaration that is whole and whose weights are what was written.

    Raises:
        LaptimeError: One of them is not.
    """
    weights = declaration.with_suffix(".safetensors")
    try:
        signed = _Signed.model_validate(read_json(declaration))
        declared = Declaration.model_validate(signed.declared)
    except ValidationError as error:
        raise CheckpointError(f"{declaration.name} is damaged.") from error
    if signed.sha256 != _digest(signed.declared):
        raise CheckpointError(f"{declaration.name} is damaged.")
    if not weights.exists() or sha256_of(weights) != declared.weights_sha256:
        raise CheckpointError(f"{weights.name} is missing or damaged.")
    return declared


def _digest(declared: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()


def _keep_newest(written: Path) -> None:
    """Keep what was just written and the checkpoint before it; remove the rest, declarations first.

    Later names than the one just written are of a future that was given up: the run went back
    to an older checkpoint because they were damaged.
    """
    earlier = [path for path in checkpoints(written.parent) if path.name < written.name]
    kept = {written, *earlier[: KEPT - 1]}
    for declaration in checkpoints(written.parent):
        if declaration not in kept:
            remove_file(declaration)
    stems = {declaration.stem for declaration in kept}
    with disk_errors(written.parent, "cannot be read"):
        orphans = [
            path
            for pattern in ("*.safetensors", ".*.tmp")
            for path in written.parent.glob(pattern)
            if path.stem not in stems
        ]
    for path in orphans:
        remove_file(path)
