"""Checkpoints: safetensors and JSON, no pickle; the JSON is written last and makes one valid."""

from __future__ import annotations

import base64
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

_PREFIXES = ("_orig_mod.", "module.")


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


def plain_name(name: str) -> str:
    """Return a parameter's name without the prefixes of torch.compile and DDP."""
    for prefix in _PREFIXES:
        name = name.replace(prefix, "")
    return name


def save_checkpoint(
    directory: Path, cursor: Cursor, model: nn.Module, optimizer: optim.Optimizer
) -> Path:
    """Write weights, optimizer and generators, then the JSON that declares them valid.

    Raises:
        StoreError: The disk refuses; earlier checkpoints stay as they are.
    """
    tensors = dict(_model_tensors(model)) | dict(_optimizer_tensors(model, optimizer))
    tensors |= _generator_tensors()
    stem = f"epoch-{cursor.epoch:06d}_step-{cursor.steps:09d}"
    weights = directory / f"{stem}.safetensors"
    write_atomically(weights, save({name: t.cpu().contiguous() for name, t in tensors.items()}))
    declaration = directory / f"{stem}.json"
    write_json(
        declaration,
        {
            "cursor": cursor.model_dump(mode="json"),
            "sha256": sha256_of(weights),
            "generators": _generator_words(),
        },
    )
    _keep_newest(directory, KEPT)
    return declaration


def checkpoints(directory: Path) -> list[Path]:
    """Return the declarations of the checkpoints in a directory, newest first."""
    return sorted(directory.glob("epoch-*.json"), reverse=True)


def newest_valid(directory: Path) -> tuple[Path, Cursor, list[str]] | None:
    """Return the newest checkpoint that is whole, and a line on each damaged one."""
    passed_over: list[str] = []
    for declaration in checkpoints(directory):
        try:
            return declaration, _verified_cursor(declaration), passed_over
        except LaptimeError as error:
            passed_over.append(f"{error} An older checkpoint is used.")
    return None


def load_checkpoint(declaration: Path, model: nn.Module, optimizer: optim.Optimizer) -> None:
    """Put weights, optimizer state and generators back, bit by bit.

    Raises:
        CheckpointError: The file is not readable, or belongs to another model or optimizer.
    """
    try:
        tensors = load_file(declaration.with_suffix(".safetensors"))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{declaration.stem} cannot be read: {error}.") from error
    _restore_model(declaration, model, tensors)
    _restore_optimizer(model, optimizer, tensors)
    torch.set_rng_state(tensors["generator.torch"])
    if "generator.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["generator.cuda"])
    _restore_generators(read_json(declaration)["generators"])


def _model_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in model.state_dict().items():
        yield f"model.{plain_name(name)}", tensor


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return name and parameter in the order in which the optimizer numbers them."""
    return [(plain_name(n), p) for n, p in model.named_parameters() if p.requires_grad]


def _optimizer_tensors(
    model: nn.Module, optimizer: optim.Optimizer
) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in _trainable(model):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                yield f"optimizer.{key}.{name}", value


def _restore_model(declaration: Path, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    here = dict(_model_tensors(model))
    there = {name for name in tensors if name.startswith("model.")}
    for name in sorted(set(here) ^ there):
        where = "the model has and the checkpoint has not" if name in here else (
            "the checkpoint has and the model has not"
        )  # fmt: skip
        raise CheckpointError(
            f"{declaration.stem} is of another model: {where} {name.removeprefix('model.')!r}. "
            f"Resume with the model that the run was started with."
        )
    for name, tensor in here.items():
        saved = tensors[name]
        if saved.shape != tensor.shape or saved.dtype != tensor.dtype:
            raise CheckpointError(
                f"{declaration.stem} is of another model: {name.removeprefix('model.')!r} is "
                f"{saved.dtype} {tuple(saved.shape)} there and {tensor.dtype} "
                f"{tuple(tensor.shape)} here. Resume with the model that the run was started with."
            )
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(tensors[name])


def _restore_optimizer(
    model: nn.Module, optimizer: optim.Optimizer, tensors: Mapping[str, Tensor]
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
        parameter = by_name[name]
        like_parameter = saved.shape == parameter.shape
        target = torch.empty_like(parameter, dtype=saved.dtype) if like_parameter else saved.clone()
        optimizer.state[parameter][key] = target.detach().copy_(saved)


def _generator_tensors() -> dict[str, Tensor]:
    """Return the states of torch's generators, which dropout and the like draw from."""
    states = {"generator.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["generator.cuda"] = torch.cuda.get_rng_state()
    return states


def _generator_words() -> dict[str, Any]:
    """Return the states of Python's and NumPy's generators: a user's dataset may draw there."""
    version, words, gauss = random.getstate()
    kind, key, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [
            kind,
            base64.b64encode(np.asarray(key).tobytes()).decode(),
            int(position),
            int(has_gauss),
            float(cached),
        ],
    }


def _restore_generators(words: Mapping[str, Any]) -> None:
    version, state, gauss = words["python"]
    random.setstate((version, tuple(state), gauss))
    kind, key, position, has_gauss, cached = words["numpy"]
    numbers = np.frombuffer(base64.b64decode(key), dtype=np.uint32)
    np.random.set_state((kind, numbers, position, has_gauss, cached))


def _verified_cursor(declaration: Path) -> Cursor:
    document = read_json(declaration)
    weights = declaration.with_suffix(".safetensors")
    try:
        cursor = Cursor.model_validate(document["cursor"])
        expected = document["sha256"]
    except (KeyError, TypeError, ValidationError) as error:
        raise CheckpointError(f"{declaration.name} is damaged.") from error
    if not weights.exists() or sha256_of(weights) != expected:
        raise CheckpointError(f"{weights.name} is missing or damaged.")
    return cursor


def _keep_newest(directory: Path, count: int) -> None:
    """Remove older checkpoints, declaration first, and weights that no declaration stands for."""
    for declaration in checkpoints(directory)[count:]:
        remove_file(declaration)
    declared = {declaration.stem for declaration in checkpoints(directory)}
    with disk_errors(directory, "cannot be read"):
        orphans = [w for w in directory.glob("*.safetensors") if w.stem not in declared]
    for weights in orphans:
        remove_file(weights)
