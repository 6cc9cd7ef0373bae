"""Every crop of every image, plain and mirrored, as one view: a batch is one indexing of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from laptime.data.augment import MEAN, PADDING, SIZE, STD, Augmentation

Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

_SIDE = SIZE + 2 * PADDING


class Crops:
    """Padded images beside their mirror images, seen through all windows of an image's size.

    An image is padded when it is first asked for: nothing is waited for at the start. Once all
    have been asked for, 9,600 bytes an image are held.

    Args:
        images: (n, 3, 32, 32) uint8.
        channels_last: Whether crops lie in memory as (32, 32, 3), not (3, 32, 32).
    """

    def __init__(self, images: Pixels, *, channels_last: bool) -> None:
        self._images = images.transpose(0, 2, 3, 1) if channels_last else images
        shape = (_SIDE, _SIDE, 3) if channels_last else (3, _SIDE, _SIDE)
        self._padded = np.zeros((2, len(images), *shape), np.uint8)
        self._axes = (1, 2) if channels_last else (2, 3)
        self._is_padded = np.zeros(len(images), bool)
        windows = _last_windows if channels_last else _first_windows
        self._windows = windows(self._padded)  # (2, n, 9, 9, ...)

    def take(self, indices: Indices, drawn: Augmentation) -> Pixels:
        """Return a crop of each image: (batch, 3, 32, 32), or (batch, 32, 32, 3) channels last.

        Args:
            indices: Of the images, (batch,).
            drawn: What is drawn for each of them, (batch,).
        """
        new = indices[~self._is_padded[indices]]
        if new.size:
            self._pad(new)
        # A mirrored crop is the crop of the mirrored image from the other side.
        left = np.where(drawn.flip, 2 * PADDING - drawn.left, drawn.left)
        crops: Pixels = self._windows[drawn.flip, indices, drawn.top, left]
        return crops.reshape(len(indices), *self._images.shape[1:])

    def _pad(self, new: Indices) -> None:
        widths = [(PADDING, PADDING) if axis in self._axes else (0, 0) for axis in range(4)]
        padded = np.pad(self._images[new], widths)
        self._padded[0, new] = padded
        self._padded[1, new] = np.flip(padded, self._axes[1])
        self._is_padded[new] = True  # last: another thread may ask meanwhile, and pads it too


def _first_windows(padded: Pixels) -> npt.NDArray[Any]:
    """Return all crops of (2, n, 3, 40, 40) as a view (2, n, 9, 9, 3, 32, 32)."""
    return sliding_window_view(padded, (SIZE, SIZE), axis=(-2, -1)).transpose(0, 1, 3, 4, 2, 5, 6)


def _last_windows(padded: Pixels) -> npt.NDArray[Any]:
    """Return all crops of (2, n, 40, 40, 3) as a view (2, n, 9, 9, 32, 96), rows whole."""
    rows = padded.reshape(*padded.shape[:3], _SIDE * 3)
    return sliding_window_view(rows, (SIZE, SIZE * 3), axis=(-2, -1))[:, :, :, ::3]


def _of(values: tuple[float, ...]) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


_PIXELS = SIZE * SIZE
_MEANS = {False: np.repeat(_of(MEAN), _PIXELS), True: np.tile(_of(MEAN), _PIXELS)}
_STDS = {False: np.repeat(_of(STD), _PIXELS), True: np.tile(_of(STD), _PIXELS)}
"""Of each value of an image, as it lies in memory: channels first, or last."""


def normalised(pixels: Pixels, *, channels_last: bool) -> npt.NDArray[np.float32]:
    """Return what ``normalise`` makes of a batch, bit for bit, in one new array of its shape.

    Args:
        pixels: (batch, 3, 32, 32) uint8, or (batch, 32, 32, 3).
        channels_last: Which of the two.
    """
    values = pixels.reshape(len(pixels), 3 * _PIXELS).astype(np.float32)
    values /= np.float32(255)
    values -= _MEANS[channels_last]
    values /= _STDS[channels_last]
    return values.reshape(pixels.shape)
