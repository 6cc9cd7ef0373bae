"""Images and labels in memory, and what is known of their origin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from laptime.data.randomness import mix, stream
from laptime.errors import DataError
from laptime.record import DataRecord

IMAGE_SHAPE = (3, 32, 32)

_HOLDOUT = stream(0, 0, purpose=3)
"""Of what is held out: no seed of a run reaches it."""


class MapDataset(Protocol):
    """A map-style dataset of somebody else: what torch.utils.data asks of one."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int, /) -> Any:
        """Return one sample and its label."""


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images (n, 3, 32, 32) uint8 and labels (n,) int64, read-only, with the class names.

    Raises:
        DataError: The shapes disagree or a label is out of range.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.shape[1:] != IMAGE_SHAPE:
            raise DataError(
                f"images are {self.images.dtype} of shape {self.images.shape}, but must be uint8 "
                f"of shape (n, 3, 32, 32). Give other data as --data file.py:factory."
            )
        if self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"{len(self.images)} images have {self.labels.size} labels. Get the data again."
            )
        outside = self.labels[(self.labels < 0) | (self.labels >= len(self.classes))]
        if outside.size:
            raise DataError(
                f"label {outside[0]} is out of range: there are {len(self.classes)} classes, "
                f"0 to {len(self.classes) - 1}. Get the data again."
            )
        self.images.flags.writeable = False
        self.labels.flags.writeable = False

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def subset(self, num_samples: int) -> ImageDataset:
        """Return evenly spaced samples: the same ones for every seed, and every class among them.

        Raises:
            DataError: There are fewer.
        """
        if num_samples > len(self):
            raise DataError(
                f"samples is {num_samples:,}, but the training set has {len(self):,}. "
                f"Use --samples {len(self)} or fewer."
            )
        return self.part(evenly_spaced(num_samples, len(self)))

    def part(self, indices: npt.NDArray[np.int64]) -> ImageDataset:
        """Return the images of some indices, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])


@dataclass(frozen=True, eq=False)
class Data:
    """A training and a test set, and where they come from.

    ``test`` is None where the source has none. A user's own datasets stand here as they are.
    """

    train: ImageDataset | MapDataset
    test: ImageDataset | MapDataset | None
    name: str
    """What it is called in one word: cifar10, synthetic, folder, or the factory."""
    source: str
    """The path, the factory or the generator."""
    label: str
    """In words: official copy, verified; unverified copy; embedded set; your own."""
    verified: bool
    sha256: str | None = None
    """Checksum of the images and labels in use, in order; None for a user's own datasets."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names; None for a user's own dataset."""
        return self.train.classes if isinstance(self.train, ImageDataset) else None

    def record(self) -> DataRecord:
        """Return what a run keeps of it."""
        return DataRecord(
            name=self.name,
            source=self.source,
            verified=self.verified,
            label=self.label,
            sha256=self.sha256,
            train_samples=len(self.train),
            test_samples=len(self.test) if self.test is not None else 0,
            num_classes=len(self.classes) if self.classes else None,
        )


def hold_out(data: Data, fraction: float) -> Data:
    """Keep a part of the training samples out as the test set: the same part for every seed.

    Raises:
        DataError: One of the two parts would be empty.
    """
    if fraction == 0:
        return data
    length = len(data.train)
    count = round(fraction * length)
    if not 0 < count < length:
        raise DataError(
            f"holdout is {fraction:g}, which leaves one of two parts of {length:,} samples empty. "
            f"Use more samples, or another fraction."
        )
    bits: Any = mix(np.arange(length, dtype=np.uint64))
    order = np.argsort(mix(bits ^ _HOLDOUT), kind="stable")
    return replace(
        data,
        train=part_of(data.train, np.sort(order[count:])),
        test=part_of(data.train, np.sort(order[:count])),
    )


def part_of(
    dataset: ImageDataset | MapDataset, indices: npt.NDArray[np.int64]
) -> ImageDataset | MapDataset:
    """Return the samples of some indices, in that order."""
    if isinstance(dataset, ImageDataset):
        return dataset.part(indices)
    from torch.utils.data import Subset  # only here: torch takes seconds to import

    return Subset(dataset, indices.tolist())  # type: ignore[arg-type]


def evenly_spaced(count: int, length: int) -> npt.NDArray[np.int64]:
    """Return ``count`` indices spread evenly over ``range(length)``, without repeats."""
    return np.arange(count, dtype=np.int64) * length // count
