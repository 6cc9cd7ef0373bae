"""Whole batches: cropped, mirrored and normalised at once, on the host or on the device."""

from __future__ import annotations

import itertools
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from laptime.data.augment import augment_batch, augmentation, normalise
from laptime.data.crops import Crops, normalised
from laptime.data.dataset import ImageDataset
from laptime.data.keys import EpochKeys, Keys

Batch = tuple[Tensor, Tensor]


class BatchImages:
    """A whole batch at a time, in NumPy, on one core.

    Args:
        dataset: The images.
        seed: Of crops and flips.
        augment: Whether to crop and mirror.
        channels_last: How a batch lies in memory.
        raw: Leave pixels as they are, uint8: a device normalises them, and a quarter of the bytes
            cross.
    """

    def __init__(
        self, dataset: ImageDataset, seed: int, *, augment: bool, channels_last: bool, raw: bool
    ) -> None:
        self._images, self._labels, self._seed, self._raw = (
            dataset.images, dataset.labels, seed, raw,
        )  # fmt: skip
        self._channels_last = channels_last and augment
        self._crops = Crops(dataset.images, channels_last=channels_last) if augment else None
        self._starts = (0, np.zeros(0, np.int64))

    def __getitem__(self, key: Keys) -> Batch:
        """Return images (batch, 3, 32, 32), float32 or raw, and labels (batch,) int64."""
        epoch, indices = key
        pixels = self._pixels(epoch, indices)
        values: npt.NDArray[Any] = pixels
        if not self._raw:
            values = normalised(pixels, channels_last=self._channels_last)
        images = torch.from_numpy(values)
        if self._channels_last:
            images = images.permute(0, 3, 1, 2)
        return images, torch.from_numpy(self._labels[indices])

    def _pixels(self, epoch: int, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        if self._crops is None:
            return self._images[indices]
        return self._crops.take(indices, self._starts_in(epoch, self._crops))

    def _starts_in(self, epoch: int, crops: Crops) -> npt.NDArray[np.int64]:
        """Return where the crops of an epoch begin: for all samples at once it costs least."""
        known, starts = self._starts  # read once: threads share it, between two epochs too
        if known != epoch:
            every = np.arange(len(self._images), dtype=np.uint64)
            starts = crops.starts(augmentation(every, self._seed, epoch))
            self._starts = (epoch, starts)
        return starts


class BatchLoader:
    """Batches made when they are asked for or, with workers, in advance by that many threads.

    Threads and no processes: NumPy works on several cores at once, and nothing has to cross from
    one process to another.

    Args:
        images: What makes a batch.
        keys: Which samples make each.
        num_samples: Of an epoch.
        num_workers: Threads.
        prefetch_factor: Batches that each prepares in advance.
        pin_memory: Whether to put batches where a GPU can fetch them by itself.
    """

    def __init__(
        self,
        images: BatchImages,
        keys: EpochKeys,
        num_samples: int,
        *,
        num_workers: int,
        prefetch_factor: int,
        pin_memory: bool,
    ) -> None:
        self.num_samples, self.num_steps, self.num_workers = (
            num_samples,
            keys.num_steps,
            num_workers,
        )
        self._images, self._keys, self._pins = images, keys, pin_memory
        self._in_flight = num_workers * prefetch_factor
        self._running: Iterator[Batch] = iter(())

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Return the batches of an epoch, from a step on."""
        self._keys.epoch, self._keys.first_step = epoch, first_step
        keys = iter(self._keys)
        self._running = self._ahead(keys) if self.num_workers else map(self._make, keys)
        return self._running

    def close(self) -> None:
        """End the threads of an epoch that is given up in the middle."""
        running, self._running = self._running, iter(())
        close = getattr(running, "close", None)
        if close is not None:
            close()

    def worker_pids(self) -> tuple[int, ...]:
        """Return none: threads stand still by themselves once they are far enough ahead."""
        return ()

    def let_end(self) -> None:
        """Let an endless stream of batches come to its end: what is under way still arrives."""
        self._keys.ending = True

    def _make(self, key: Keys) -> Batch:
        images, labels = self._images[key]
        return (images.pin_memory(), labels.pin_memory()) if self._pins else (images, labels)

    def _ahead(self, keys: Iterator[Keys]) -> Iterator[Batch]:
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="laptime-loader")
        made: deque[Future[Batch]] = deque()
        try:
            for key in itertools.islice(keys, self._in_flight):
                made.append(pool.submit(self._make, key))
            while made:
                batch = made.popleft().result()
                for key in itertools.islice(keys, 1):
                    made.append(pool.submit(self._make, key))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


class DeviceImages:
    """A whole batch at a time, where all the images already are."""

    def __init__(
        self, dataset: ImageDataset, seed: int, *, augment: bool, device: torch.device
    ) -> None:
        self._images = _tensor_of(dataset.images).to(device)
        self._labels = _tensor_of(dataset.labels).to(device)
        self._seed, self._augment = seed, augment

    def __getitem__(self, key: Keys) -> Batch:
        """Return normalised images (batch, 3, 32, 32) float32 and labels (batch,) int64."""
        epoch, indices = key
        chosen = torch.from_numpy(indices).to(self._images.device, non_blocking=True)
        images = self._images[chosen]
        if self._augment:
            drawn = augmentation(indices.astype(np.uint64), self._seed, epoch)
            images = augment_batch(images, drawn)
        return normalise(images), self._labels[chosen]


class DeviceLoader:
    """Batches made where the images already are: no worker, no copy."""

    num_workers = 0

    def __init__(self, images: DeviceImages, keys: EpochKeys, num_samples: int) -> None:
        self.num_samples, self.num_steps = num_samples, keys.num_steps
        self._images, self._keys = images, keys

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Return the batches of an epoch, from a step on."""
        self._keys.epoch, self._keys.first_step = epoch, first_step
        return (self._images[key] for key in self._keys)

    def close(self) -> None:
        """End nothing: there is no worker."""

    def worker_pids(self) -> tuple[int, ...]:
        """Return none."""
        return ()

    def let_end(self) -> None:
        """Let an endless stream of batches come to its end."""
        self._keys.ending = True


def _tensor_of(array: npt.NDArray[Any]) -> Tensor:
    """Wrap a read-only array without copying it; nothing here writes to the tensor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
