"""Every crop of every image, plain and mirrored, as one view: a batch is one indexing of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

from laptime.data.augment import OFFSET, PADDING, SCALE, SIZE, Augmentation

Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

_SIDE = SIZE + 2 * PADDING
_PIXELS = SIZE * SIZE


class Crops:
    """Padded images and then their mirror images, seen through a window that may begin anywhere.

    An image is padded when it is first asked for: nothing is waited for at the start. Once all
    have been asked for, 9,600 bytes an image are held.

    Args:
        images: (n, 3, 32, 32) uint8.
        channels_last: Whether crops lie in memory as (32, 32, 3), not (3, 32, 32).
    """

    def __init__(self, images: Pixels, *, channels_last: bool) -> None:
        self._images = images.transpose(0, 2, 3, 1) if channels_last else images
        self._axes = (1, 2) if channels_last else (2, 3)
        shape = (_SIDE, _SIDE, 3) if channels_last else (3, _SIDE, _SIDE)
        self._padded = np.zeros((2, len(images), *shape), np.uint8)
        self._is_padded = np.zeros(len(images), bool)
        self._are_all_padded = False
        # A row of pixels is one element: NumPy copies it whole. One row of three channels
        # interleaved, or one of each channel.
        row = np.dtype((np.void, SIZE * 3 if channels_last else SIZE))
        window = (SIZE,) if channels_last else (3, SIZE)
        strides = (_SIDE * 3,) if channels_last else (_SIDE * _SIDE, _SIDE)
        extent = row.itemsize + sum(
            (n - 1) * stride for n, stride in zip(window, strides, strict=True)
        )
        starts = self._padded.size - extent + 1
        rows = self._padded.reshape(-1)[: row.itemsize].view(row)
        self._crops = as_strided(rows, (starts, *window), (1, *strides), writeable=False)

    def starts(self, drawn: Augmentation) -> Indices:
        """Return where the crop of each image begins, (n,).

        Args:
            drawn: What is drawn for each image, (n,).
        """
        top, left, flip = (np.asarray(part, np.int64) for part in drawn)
        # A mirrored crop is the crop of the mirrored image from the other side.
        left = np.where(flip, 2 * PADDING - left, left)
        flips, image, *inner = self._padded.strides
        row, column = (inner[axis - 1] for axis in self._axes)
        return flip * flips + np.arange(len(flip)) * image + top * row + left * column

    def take(self, indices: Indices, starts: Indices) -> Pixels:
        """Return a crop of each image: (batch, 3, 32, 32), or (batch, 32, 32, 3) channels last.

        Args:
            indices: Of the images, (batch,).
            starts: Where the crops of all images begin.
        """
        if not self._are_all_padded:
            self._pad(indices[~self._is_padded[indices]])
        crops: Pixels = self._crops[starts[indices]].view(np.uint8)
        return crops.reshape(len(indices), *self._images.shape[1:])

    def _pad(self, new: Indices) -> None:
        widths = [(PADDING, PADDING) if axis in self._axes else (0, 0) for axis in range(4)]
        padded = np.pad(self._images[new], widths)
        self._padded[0, new] = padded
        self._padded[1, new] = np.flip(padded, self._axes[1])
        self._is_padded[new] = True  # last: another thread may ask meanwhile, and pads it too
        self._are_all_padded = bool(self._is_padded.all())


def _by_channel(values: tuple[float, ...], *, channels_last: bool) -> npt.NDArray[np.float32]:
    """Return the value of each element of an image, (3072,), as it lies in memory."""
    lay = np.tile if channels_last else np.repeat
    return lay(np.array(values, np.float32), _PIXELS)


_SCALES = {last: _by_channel(SCALE, channels_last=last) for last in (False, True)}
_OFFSETS = {last: _by_channel(OFFSET, channels_last=last) for last in (False, True)}


def normalised(pixels: Pixels, *, channels_last: bool, by_torch: bool) -> Tensor:
    """Return what ``normalise`` makes of a batch, bit for bit, in one new tensor of its shape.

    Args:
        pixels: (batch, 3, 32, 32) uint8, or (batch, 32, 32, 3).
        channels_last: Which of the two.
        by_torch: Calculate with torch, which is faster alone and in each thread that calls it
            begins a team of threads; otherwise with NumPy, on one core. The bits are the same.
    """
    flat = pixels.reshape(len(pixels), 3 * _PIXELS)
    scale, offset = _SCALES[channels_last], _OFFSETS[channels_last]
    if by_torch:
        values = torch.from_numpy(flat).to(torch.float32)
        values.mul_(torch.from_numpy(scale)).add_(torch.from_numpy(offset))
    else:
        array = flat.astype(np.float32)
        array *= scale
        array += offset
        values = torch.from_numpy(array)
    return values.view(pixels.shape)
