"""Datasets to batches: sample by sample, batch by batch, or on the device; one protocol."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from laptime.data.augment import augment_image, augmentation, normalise
from laptime.data.batches import Batch, BatchImages, BatchLoader, DeviceImages, DeviceLoader
from laptime.data.dataset import ImageDataset, MapDataset
from laptime.data.keys import EndlessKeys, EpochKeys, SampleKeys
from laptime.errors import SettingsError
from laptime.orphans import die_with_parent
from laptime.settings import LoaderSettings

_GRACE_S = 30
"""How long a worker outlives the first SIGTERM: time for the training to end its step."""


class Loader(Protocol):
    """Batches of one dataset, epoch by epoch."""

    num_samples: int
    num_steps: int
    num_workers: int
    """Processes or threads that make batches ahead of the training."""

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Return the batches of an epoch, from a step on: (images, labels) each."""

    def close(self) -> None:
        """End the workers of an epoch that is given up in the middle."""


class EndlessLoader(Loader, Protocol):
    """A loader whose workers can be stopped between turns, and whose epochs need not end."""

    def worker_pids(self) -> tuple[int, ...]:
        """Return the processes that make the batches of the epoch in progress."""

    def let_end(self) -> None:
        """Let an endless stream of batches come to its end."""


class SampleImages(Dataset[Any]):
    """One image at a time through pillow, as most scripts do."""

    def __init__(self, dataset: ImageDataset, seed: int, *, augment: bool) -> None:
        self._images, self._labels = dataset.images, dataset.labels
        self._seed, self._augment = seed, augment

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        """Return the normalised image (3, 32, 32) float32 and its label."""
        epoch, index = key
        image = Image.fromarray(self._images[index].transpose(1, 2, 0))
        if self._augment:
            image = augment_image(image, augmentation(index, self._seed, epoch))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return normalise(pixels), int(self._labels[index])


class ForeignSamples(Dataset[Any]):
    """A dataset of the user's, unchanged; the epoch in the key is dropped."""

    def __init__(self, dataset: MapDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Return what the user's dataset returns."""
        return self._dataset[key[1]]


class WorkerLoader:
    """Batches through torch's DataLoader."""

    def __init__(
        self,
        dataset: Dataset[Any],
        keys: EpochKeys,
        settings: LoaderSettings,
        num_samples: int,
        seed: int,
        *,
        pin_memory: bool,
    ) -> None:
        self.num_samples, self.num_steps = num_samples, keys.num_steps
        self.num_workers = settings.num_workers
        self._keys, self._seed = keys, seed
        self._running: Iterator[Batch] | None = None
        self._generator = torch.Generator()
        with _any_number_of_workers():
            self._loader = DataLoader(
                dataset,
                batch_sampler=SampleKeys(keys),
                **worker_options(settings),
                pin_memory=pin_memory,
                generator=self._generator,
                worker_init_fn=settle_worker,
            )

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Return the batches of an epoch, from a step on."""
        self._keys.epoch, self._keys.first_step = epoch, first_step
        # Workers' own seeds follow from (seed, epoch) too: a user's random transform differs
        # between epochs and is repeatable for the same number of workers.
        self._generator.manual_seed((self._seed + (epoch << 32)) % 2**63)
        with _any_number_of_workers():
            self._running = iter(self._loader)
        return self._running

    def close(self) -> None:
        """End the workers of an epoch that is given up in the middle.

        An exception keeps the iterator alive in its traceback, and with it the workers: the
        process would wait for them when it ends.
        """
        running, self._running = self._running, None
        shut_down = getattr(running, "_shutdown_workers", None)
        if shut_down is not None:
            shut_down()

    def worker_pids(self) -> tuple[int, ...]:
        """Return the processes that make the batches of the epoch in progress."""
        return tuple(worker.pid for worker in getattr(self._running, "_workers", ()))

    def let_end(self) -> None:
        """Let an endless stream of batches come to its end: what is under way still arrives."""
        self._keys.ending = True


def build_loader(
    dataset: ImageDataset | MapDataset,
    settings: LoaderSettings,
    seed: int,
    device: torch.device,
    *,
    train: bool,
    endless: bool = False,
    channels_last: bool = False,
) -> EndlessLoader:
    """Build the loader of a training set (shuffled, augmented) or of a test set (in order, plain).

    Args:
        dataset: What batches are made of.
        settings: How.
        seed: Of shuffles and augmentations.
        device: What trains. Whole batches for another device than the CPU come as uint8.
        train: Whether to shuffle and augment.
        endless: Go on with the next epoch until told to end.
        channels_last: How whole batches lie in memory; values are the same.

    Raises:
        SettingsError: A user's own dataset meets a loader that only knows images in memory.
    """
    make_keys = EndlessKeys if endless else EpochKeys
    keys = make_keys(len(dataset), settings.batch_size, seed, shuffle=train)
    pin_memory = settings.pin_memory and device.type == "cuda"
    if not isinstance(dataset, ImageDataset):
        if settings.loader != "sample":
            raise SettingsError(
                f"loader is {settings.loader!r}, but data from a factory comes sample by sample. "
                f"Use --loader sample."
            )
        return WorkerLoader(
            ForeignSamples(dataset), keys, settings, len(dataset), seed, pin_memory=pin_memory
        )
    if settings.loader == "device":
        on_device = DeviceImages(dataset, seed, augment=train, device=device)
        return DeviceLoader(on_device, keys, len(dataset))
    if settings.loader == "batch":
        images = BatchImages(
            dataset, seed, augment=train, channels_last=channels_last,
            raw=device.type != "cpu", in_threads=settings.num_workers > 0,
        )  # fmt: skip
        return BatchLoader(
            images, keys, len(dataset), num_workers=settings.num_workers,
            prefetch_factor=settings.prefetch_factor, pin_memory=pin_memory,
        )  # fmt: skip
    samples = SampleImages(dataset, seed, augment=train)
    return WorkerLoader(samples, keys, settings, len(dataset), seed, pin_memory=pin_memory)


def worker_options(settings: LoaderSettings) -> dict[str, Any]:
    """Return the DataLoader's arguments about workers; without workers it refuses most of them."""
    if settings.num_workers == 0:
        return {"num_workers": 0}
    return {
        "num_workers": settings.num_workers,
        "prefetch_factor": settings.prefetch_factor,
        "persistent_workers": settings.persistent_workers,
    }


def settle_worker(worker_id: int) -> None:  # noqa: ARG001 - the DataLoader passes it
    """Leave Ctrl-C, and the first SIGTERM, to the training process; die with it.

    A scheduler sends SIGTERM to the whole job, and a worker that dies of it takes the last step
    along. The second one kills, and so does an alarm if no one comes to an end before.
    """
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _die_later)


def _die_later(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's form
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_GRACE_S)


@contextmanager
def _any_number_of_workers() -> Iterator[None]:
    """Keep torch's advice about more workers than CPUs back: the run itself says what it costs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield
