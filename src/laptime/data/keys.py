"""Which samples make each batch of which epoch: a pure function of seed and epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from laptime.data.augment import shuffled

Keys = tuple[int, npt.NDArray[np.int64]]


class EpochKeys(Sampler[Any]):
    """Which samples make each batch: (epoch, indices), a pure function of seed and epoch.

    The epoch travels with the indices because persistent workers keep the dataset that they
    were started with: what is set on it later never reaches them.
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int, *, shuffle: bool) -> None:
        self._num_samples, self._batch_size = num_samples, batch_size
        self._seed, self._shuffle = seed, shuffle
        self.num_steps = -(-num_samples // batch_size)
        self.epoch, self.first_step = 1, 0
        self.ending = False

    def __len__(self) -> int:
        """Return the number of batches still to come in this epoch."""
        return self.num_steps - self.first_step

    def __iter__(self) -> Iterator[Keys]:
        """Yield the keys of each batch."""
        order = (
            shuffled(self._num_samples, self._seed, self.epoch)
            if self._shuffle
            else np.arange(self._num_samples)
        )
        for step in range(self.first_step, self.num_steps):
            start = step * self._batch_size
            yield self.epoch, order[start : start + self._batch_size]


class EndlessKeys(EpochKeys):
    """Epoch after epoch without an end between them, whole batches only: what a study's turns take.

    Every batch is the same work, and workers are not started anew in the middle of a turn.
    """

    def __iter__(self) -> Iterator[Keys]:
        """Yield the keys of each batch until :meth:`let_end` is called."""
        self.ending = False
        for epoch in itertools.count(self.epoch):
            self.epoch = epoch
            for number, keys in enumerate(super().__iter__(), 1):
                if self.ending:
                    return
                if len(keys[1]) == self._batch_size or number == 1:
                    yield keys


class SampleKeys(Sampler[Any]):
    """The same keys, one (epoch, index) pair a sample, as a DataLoader asks a map-style dataset."""

    def __init__(self, keys: EpochKeys) -> None:
        self._keys = keys

    def __len__(self) -> int:
        """Return the number of batches still to come in this epoch."""
        return len(self._keys)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the list of pairs that makes each batch."""
        for epoch, indices in self._keys:
            yield [(epoch, index) for index in indices.tolist()]
