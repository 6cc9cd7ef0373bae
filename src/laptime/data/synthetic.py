"""The embedded data set: ten classes of 32x32 images, drawn with integer arithmetic only.

Every value follows from SplitMix64 over the sample's index, so that a sample is the same on every
machine and with every numpy, and so that some can be drawn without the others.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from laptime.data.dataset import Data, ImageDataset
from laptime.data.randomness import mix

NUM_TRAIN = 50_000
NUM_TEST = 10_000
CLASSES = tuple(f"pattern {i}" for i in range(10))

SYNTHETIC_SHA256 = "f6b31611ff242aebfc3b15bcaca90b3c4d6bb9c6eac1eddce88313d3cb626ac0"
"""Over images and labels of the whole training set, then of the test set."""

_DRAWN_TOGETHER, _MOST_THREADS = 5_000, 8

_CHECKED_SAMPLES = 256  # drawn again for every run, as proof that this machine draws the same
_CHECKED_SHA256 = "bc1184d6335fcbdaee35e43f2086091255a641d3ea5892e556b9b2c16c9f568a"


def build_synthetic(num_samples: int = NUM_TRAIN) -> Data:
    """Draw the first ``num_samples`` training images and all test images."""
    images, labels = _drawn(num_samples, first=0)
    test_images, test_labels = _drawn(NUM_TEST, first=NUM_TRAIN)
    return Data(
        train=ImageDataset(images, labels, CLASSES),
        test=ImageDataset(test_images, test_labels, CLASSES),
        name="synthetic",
        source="embedded generator",
        label="embedded set",
        verified=_is_reproduced(),
    )


def _drawn(num_samples: int, first: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Draw samples as :func:`synthetic_images` does, some thousands at a time, in threads."""
    images = np.empty((num_samples, 3, 32, 32), np.uint8)
    labels = np.empty(num_samples, np.int64)

    def draw(start: int) -> None:
        end = min(start + _DRAWN_TOGETHER, num_samples)
        images[start:end], labels[start:end] = synthetic_images(end - start, first + start)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        list(pool.map(draw, range(0, num_samples, _DRAWN_TOGETHER)))
    return images, labels


def synthetic_images(
    num_samples: int, first: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Draw samples ``first``, ``first + 1``, ...: images (n, 3, 32, 32) and labels (n,).

    An image is the pattern of its class, a fainter one of another class, each shifted and perhaps
    mirrored, and noise. In one of eight the two patterns change places, so that about 87 % is the
    most that can be learned. Ten samples from a multiple of ten are of ten classes.
    """
    views = class_views()
    index = np.arange(first, first + num_samples, dtype=np.uint64)
    labels = (index + random_bits(index // 10, purpose=1)) % 10
    draws = random_bits(index, purpose=2)
    others = (labels + 1 + (draws >> 40) % 9) % 10
    swapped = (draws >> 50) % 8 == 0
    strong, faint = np.where(swapped, others, labels), np.where(swapped, labels, others)
    images = np.empty((num_samples, 3 * 32 * 32), np.uint8)
    for start in range(0, num_samples, 256):  # a piece at a time stays in the processor's cache
        piece = slice(start, start + 256)
        counter = index[piece, None] * 384 + np.arange(384, dtype=np.uint64)
        noise = random_bits(counter, purpose=3).astype("<u8").view(np.uint8)  # (256, 3072)
        images[piece] = views[strong[piece], draws[piece] % 512]
        images[piece] += views[faint[piece], (draws[piece] >> 20) % 512] >> 1
        images[piece] += noise >> 2
    return images.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def class_views() -> npt.NDArray[np.uint8]:
    """Return 256 shifts, plain and mirrored, of one smooth pattern a class: (10, 512, 3072)."""
    coarse = random_bits(np.arange(10 * 3 * 8 * 8, dtype=np.uint64), purpose=0) % 128
    distance = np.abs((np.arange(64)[:, None] - 8 * np.arange(8) + 32) % 64 - 32)
    weights = np.maximum(8 - distance, 0)  # (64, 8): linear interpolation between eight points
    grid = coarse.astype(np.int64).reshape(10, 3, 8, 8)
    patterns = (weights @ grid @ weights.T // 64).astype(np.uint8)  # (10, 3, 64, 64)
    shifts = [
        patterns[:, :, y : y + 32, x : x + 32] for y in range(0, 32, 2) for x in range(0, 32, 2)
    ]
    views = np.stack([*shifts, *(shift[..., ::-1] for shift in shifts)], axis=1)
    return views.reshape(10, 512, 3 * 32 * 32)


def random_bits(values: npt.NDArray[Any], purpose: int) -> npt.NDArray[Any]:
    """Return 64 random bits for each value, others for each purpose."""
    return mix(values + (purpose << 56))


def _is_reproduced() -> bool:
    """Tell whether this machine draws the samples that it should."""
    images, labels = synthetic_images(_CHECKED_SAMPLES, first=0)
    digest = hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes())
    return digest.hexdigest() == _CHECKED_SHA256
