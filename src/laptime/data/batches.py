"""Whole batches: cropped, mirrored and normalised at once, on the host or on the device."""

from __future__ import annotations

import contextlib
import itertools
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from laptime.data.augment import (
    Augmentation,
    augment_batch,
    augmentation,
    drawn_on,
    normalise,
)
from laptime.data.crops import Crops, normalised
from laptime.data.dataset import ImageDataset
from laptime.data.keys import EpochKeys, Keys

Batch = tuple[Tensor, Tensor]


class BatchImages:
    """A whole batch at a time.

    Args:
        dataset: The images.
        seed: Of crops and flips.
        augment: Whether to crop and mirror.
        channels_last: How a batch lies in memory.
        raw: Leave pixels as they are, uint8: a device normalises them, and a quarter of the bytes
            cross.
        in_threads: Whether several threads ask: each stays on one core.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        seed: int,
        *,
        augment: bool,
        channels_last: bool,
        raw: bool,
        in_threads: bool = False,
    ) -> None:
        self._images, self._labels, self._seed, self._raw = (
            dataset.images, dataset.labels, seed, raw,
        )  # fmt: skip
        self._channels_last, self._by_torch = channels_last and augment, not in_threads
        self._crops = Crops(dataset.images, channels_last=channels_last) if augment else None
        self._starts = (0, np.zeros(0, np.int64))

    def __getitem__(self, key: Keys) -> Batch:
        """Return images (batch, 3, 32, 32), float32 or raw, and labels (batch,) int64."""
        epoch, indices = key
        pixels = self._pixels(epoch, indices)
        if self._raw:
            images = torch.from_numpy(pixels)
        else:
            images = normalised(pixels, channels_last=self._channels_last, by_torch=self._by_torch)
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
        self._keys = keys
        self._make = partial(_pinned, images) if pin_memory else images.__getitem__
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

    def _ahead(self, keys: Iterator[Keys]) -> Iterator[Batch]:
        workers: list[_Worker] = []
        try:
            workers += (_Worker(self._make) for _ in range(self.num_workers))
            turns, asked = itertools.cycle(workers), deque[_Worker]()
            for key in itertools.islice(keys, self._in_flight):
                asked.append(next(turns).ask(key))
            while asked:
                batch = asked.popleft().batch()
                for key in itertools.islice(keys, 1):
                    asked.append(next(turns).ask(key))
                yield batch
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.join()


class _Worker:
    """A thread that makes the batches it is asked for, one after another.

    By two queues that are written in C: where threads share one lock, a hand-over in Python is time
    in which no other thread goes on.
    """

    def __init__(self, make: Callable[[Keys], Batch]) -> None:
        self._asked = SimpleQueue[Keys | None]()
        self._made = SimpleQueue[Batch | BaseException]()
        self._thread = Thread(
            target=_work, args=(make, self._asked, self._made), name="laptime-loader", daemon=True
        )
        self._thread.start()

    def ask(self, key: Keys) -> _Worker:
        """Have one more batch made; return whom to ask for it."""
        self._asked.put(key)
        return self

    def batch(self) -> Batch:
        """Wait for the next batch; what its making raised is raised here."""
        made = self._made.get()
        if isinstance(made, BaseException):
            raise made
        return made

    def stop(self) -> None:
        """Drop what is asked for and not begun, and let the thread end."""
        with contextlib.suppress(Empty):
            while True:
                self._asked.get_nowait()
        self._asked.put(None)

    def join(self) -> None:
        """Wait until the thread has ended, unless the interpreter ends and stops it anyway."""
        if not sys.is_finalizing():
            self._thread.join()


def _work(
    make: Callable[[Keys], Batch],
    asked: SimpleQueue[Keys | None],
    made: SimpleQueue[Batch | BaseException],
) -> None:
    while (key := asked.get()) is not None:
        try:
            made.put(make(key))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            made.put(error)


def _pinned(images: BatchImages, key: Keys) -> Batch:
    values, labels = images[key]
    return values.pin_memory(), labels.pin_memory()


class DeviceImages:
    """A whole batch at a time, where all the images already are."""

    def __init__(
        self, dataset: ImageDataset, seed: int, *, augment: bool, device: torch.device
    ) -> None:
        self._images = _tensor_of(dataset.images).to(device)
        self._labels = _tensor_of(dataset.labels).to(device)
        self._seed, self._augment = seed, augment
        self._drawn: tuple[int, Augmentation | None] = (0, None)

    def __getitem__(self, key: Keys) -> Batch:
        """Return normalised images (batch, 3, 32, 32) float32 and labels (batch,) int64."""
        epoch, indices = key
        chosen = torch.from_numpy(indices).to(self._images.device, non_blocking=True)
        images = self._images[chosen]
        if self._augment:
            drawn = (part[chosen] for part in self._drawn_in(epoch))
            images = augment_batch(images, Augmentation(*drawn))
        return normalise(images), self._labels[chosen]

    def _drawn_in(self, epoch: int) -> Augmentation:
        """Return what is drawn for all samples of an epoch: it is copied once, not every step."""
        known, drawn = self._drawn
        if known != epoch or drawn is None:
            every = np.arange(len(self._images), dtype=np.uint64)
            drawn = drawn_on(self._images.device, augmentation(every, self._seed, epoch))
            self._drawn = (epoch, drawn)
        return drawn


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
