"""Everything a run trains with, built from its settings."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim

from laptime.data.catalog import build_data
from laptime.data.dataset import Data, ImageDataset
from laptime.data.loaders import Loader, build_loader
from laptime.errors import DataError, ModelError, SettingsError
from laptime.host_memory import can_keep_memory
from laptime.models.catalog import build_model, check_name, num_parameters
from laptime.record import Mode
from laptime.settings import LoaderSettings, ModelSettings, RunSettings, TrainingSettings
from laptime.timing.environment import usable_cpus
from laptime.timing.ledger import HostLedger
from laptime.timing.timers import build_timer
from laptime.timing.windows import StepTimer
from laptime.training.device import check_precision, choose_device, choose_mode
from laptime.training.optimizers import build_optimizer
from laptime.training.step import Mover, TrainStep, set_arithmetic


@dataclass(frozen=True, eq=False)
class Job:
    """What one run is made of. ``model`` is the plain module, whatever runs in the step."""

    settings: RunSettings
    data: Data
    device: torch.device
    mode: Mode
    model: nn.Module
    optimizer: optim.Optimizer
    step: TrainStep
    mover: Mover
    loader: Loader
    test_loader: Loader | None
    parameters: int
    warnings: tuple[str, ...] = field(default=())

    def build_timer(self, first_step: int = 1) -> tuple[HostLedger, StepTimer]:
        """Return the ledger of one epoch, started, and the timer that speaks to it."""
        return build_timer(self.mode, str(self.device), first_step)


def build_job(settings: RunSettings) -> Job:
    """Build data, model, optimizer and loaders, and see that they fit, before anything is written.

    Raises:
        LaptimeError: A part cannot be built or does not fit the others.
    """
    check_name(settings.model)
    check_alone(os.environ)
    training = settings.training
    device = choose_device(training.device)
    mode = choose_mode(training, device)
    check_precision(training, device)
    data = build_data(settings.data)
    check_batch(data, settings)
    set_arithmetic(training)
    seed_everything(training.seed)
    model = build_model(settings.model, len(data.classes) if data.classes else 10)
    check_fit(model, data)
    if training.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.to(device).train()
    optimizer = build_optimizer(model, settings.optimizer)
    mover = Mover(
        device,
        channels_last=training.channels_last,
        normalises=isinstance(data.train, ImageDataset),
    )
    running: Any = _compiled(model, training) if training.compile else model
    return Job(
        settings=settings,
        data=data,
        device=device,
        mode=mode,
        model=model,
        optimizer=optimizer,
        step=TrainStep(running, optimizer, mover, training.precision),
        mover=mover,
        loader=build_loader(
            data.train,
            settings.loader,
            training.seed,
            device,
            train=True,
            channels_last=training.channels_last,
        ),
        test_loader=_test_loader(data, settings, device),
        parameters=num_parameters(model),
        warnings=tuple(_warnings(settings, device, mode, model)),
    )


def _compiled(model: nn.Module, training: TrainingSettings) -> Any:
    """Compile a model; what it answers is used before the next step, as CUDA graphs want it."""
    return torch.compile(model, mode="reduce-overhead" if training.cuda_graphs else None)


def seed_everything(seed: int) -> None:
    """Seed torch's, NumPy's and Python's global generators: weights, and a user's own code."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def check_alone(environ: Mapping[str, str]) -> None:
    """Refuse to be one of many processes: each would train and time the whole by itself.

    Raises:
        SettingsError: A launcher says that there are more.
    """
    world_size = environ.get("WORLD_SIZE", "1")
    if world_size not in {"", "0", "1"}:
        raise SettingsError(
            f"WORLD_SIZE is {world_size}, but this version of laptime trains in one process. "
            f"Start it without torchrun."
        )


def check_batch(data: Data, settings: RunSettings) -> None:
    """Refuse a test set that is asked for and not there.

    Raises:
        SettingsError: ``--evaluate`` without a test set.
    """
    if settings.training.evaluate and (data.test is None or len(data.test) == 0):
        raise SettingsError(
            f"evaluate is on, but {data.name} has no test set. Leave --evaluate out."
        )


def check_fit(model: nn.Module, data: Data) -> None:
    """Run two samples through the model in evaluation mode, which changes neither.

    Raises:
        DataError: A sample is no (input, label) pair.
        ModelError: The model raises, or gives no (batch, classes) with a class for each label.
    """
    if isinstance(data.train, ImageDataset):
        inputs, labels = torch.zeros(2, 3, 32, 32), torch.from_numpy(data.train.labels[:2].copy())
        highest = int(data.train.labels.max())
    else:
        inputs, labels = _two_samples(data)
        highest = int(labels.max())
    logits = _probe(model, inputs)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[0] != len(inputs):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(
            f"the model maps inputs {tuple(inputs.shape)} to {shape}, but must give logits of "
            f"shape (batch, classes)."
        )
    if logits.shape[1] <= highest:
        raise ModelError(
            f"the model has {logits.shape[1]} outputs, but there are labels up to {highest}. "
            f"Give it {highest + 1} outputs or more."
        )


def _probe(model: nn.Module, inputs: Tensor) -> Any:
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return model(inputs)
    except Exception as error:
        raise ModelError(
            f"the model cannot take inputs of shape {tuple(inputs.shape)}: "
            f"{type(error).__name__}: {error}. Give a model that fits the data."
        ) from error
    finally:
        model.train()


def _two_samples(data: Data) -> tuple[Tensor, Tensor]:
    from torch.utils.data import default_collate

    try:
        samples: Any = data.train
        batch = default_collate([samples[0], samples[len(samples) - 1]])
        inputs, labels = batch
    except Exception as error:
        raise DataError(
            f"data {data.source} gave samples that make no batch: {type(error).__name__}: {error}. "
            f"A sample must be an (input, label) pair, the input a tensor or array of one shape."
        ) from error
    if not isinstance(inputs, Tensor) or not isinstance(labels, Tensor) or labels.dim() != 1:
        raise DataError(
            f"data {data.source} gave a batch of {type(inputs).__name__} and "
            f"{type(labels).__name__}. A sample must be an (input, label) pair, "
            f"the label an integer."
        )
    if labels.is_floating_point() or int(labels.min()) < 0:
        raise DataError(
            f"data {data.source} gave the labels {labels.tolist()}, but labels must be integers "
            f"from 0 to classes - 1. Shift or convert them."
        )
    return inputs, labels


def _test_loader(data: Data, settings: RunSettings, device: torch.device) -> Loader | None:
    """Build the test loader: images in memory need no worker, a user's dataset gets its own."""
    if not settings.training.evaluate or data.test is None:
        return None
    loader = settings.loader
    if isinstance(data.test, ImageDataset):
        loader = LoaderSettings(loader="batch", num_workers=0, batch_size=loader.batch_size)
    return build_loader(data.test, loader, settings.training.seed, device, train=False)


def _warnings(
    settings: RunSettings, device: torch.device, mode: Mode, model: nn.Module
) -> list[str]:
    found = []
    odd = [n for n, value in model.state_dict().items() if not isinstance(value, Tensor)]
    if odd:
        found.append(
            f"the model keeps state that is no tensor ({odd[0]}): checkpoints leave it out, and a "
            f"resumed run may differ."
        )
    if settings.loader.pin_memory and device.type != "cuda":
        found.append(f"--pin-memory does nothing on {device.type}: there is no copy to speed up.")
    if mode == "host" and device.type != "cpu":
        found.append(
            f"--timing host on {device.type}: phases are submission times, not the device's. "
            f"Only the total is true."
        )
    if settings.training.cuda_graphs and not (settings.training.compile and device.type == "cuda"):
        found.append("--cuda-graphs does nothing here: it takes --compile and a CUDA device.")
    if settings.training.keep_memory and not can_keep_memory():
        found.append("--keep-memory does nothing here: it speaks to glibc's allocator.")
    cpus = usable_cpus()
    if settings.loader.loader != "device" and settings.loader.num_workers > cpus:
        found.append(
            f"{settings.loader.num_workers} workers on {cpus} usable CPUs share them with the "
            f"training. That can cost time or not: the table shows it."
        )
    if settings.loader.persistent_workers and not settings.loader.num_workers:
        found.append("--persistent-workers does nothing without workers.")
    elif settings.loader.persistent_workers and settings.loader.loader == "batch":
        found.append("--persistent-workers does nothing to the batch loader: it has threads.")
    if settings.model.model != "resnet18" and settings.model.width != ModelSettings().width:
        found.append("--width does nothing here: it is resnet18's.")
    if settings.loader.loader == "device" and settings.loader.num_workers:
        found.append("--loader device has no workers: --num-workers is not used.")
    return found
