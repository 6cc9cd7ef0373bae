"""Shuffles, crops and flips as pure functions of (seed, epoch, sample index).

No generator is advanced, so that the same batches come out for any number of workers, from
every loader, and after a resume in the middle of an epoch.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from laptime.data.randomness import Bits, mix, stream

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)
SCALE = tuple(1 / (255 * std) for std in STD)
OFFSET = tuple(-mean / std for mean, std in zip(MEAN, STD, strict=True))
PADDING = 4
SIZE = 32

_SHUFFLE, _AUGMENT = 1, 2


def shuffled(num_samples: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order in which an epoch visits its samples."""
    indices = np.arange(num_samples, dtype=np.uint64)
    bits: Any = mix(indices)
    # No two bits are equal, as mix is one to one: every kind of sort finds this order.
    return np.argsort(mix(bits ^ stream(seed, epoch, _SHUFFLE)))


class Augmentation(NamedTuple):
    """Where to crop the padded image, 0 to 8 from its corner, and whether to mirror it.

    Integers for one sample, arrays or tensors of one shape for many.
    """

    top: Any
    left: Any
    flip: Any


def augmentation(index: Bits, seed: int, epoch: int) -> Augmentation:
    """Draw crop and flip of one sample, or of an array of samples, in one epoch."""
    bits: Any = mix(index)
    bits = mix(bits ^ stream(seed, epoch, _AUGMENT))
    places = 2 * PADDING + 1
    return Augmentation(
        top=((bits & 0xFFFF) * places) >> 16,
        left=(((bits >> 16) & 0xFFFF) * places) >> 16,
        flip=(bits >> 32) & 1,
    )


def drawn_on(device: torch.device, drawn: Augmentation) -> Augmentation:
    """Return what was drawn, arrays, as tensors on a device."""
    parts = (torch.from_numpy(np.asarray(part, dtype=np.int64)).to(device) for part in drawn)
    return Augmentation(*parts)


def augment_image(image: Image.Image, drawn: Augmentation) -> Image.Image:
    """Crop and mirror one image the way per-sample pipelines do: pad with black, cut, flip."""
    top, left = int(drawn.top), int(drawn.left)
    padded = ImageOps.expand(image, border=PADDING)
    cropped = padded.crop((left, top, left + SIZE, top + SIZE))
    return cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if drawn.flip else cropped


def augment_batch(images: Tensor, drawn: Augmentation) -> Tensor:
    """Crop and mirror a whole batch with one indexing, where the images are.

    Args:
        images: (batch, 3, 32, 32) uint8, on any device.
        drawn: Tensors of shape (batch,), int64, where the images are.
    """
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)  # (batch, 3, 40, 40)
    top, left, flip = drawn
    steps = torch.arange(SIZE, device=images.device)
    rows = top[:, None] + steps  # (batch, 32)
    columns = left[:, None] + torch.where(flip[:, None] == 1, SIZE - 1 - steps, steps)
    batch = torch.arange(len(images), device=images.device)
    channels = torch.arange(images.shape[1], device=images.device)
    return padded[
        batch[:, None, None, None],
        channels[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def normalise(images: Tensor) -> Tensor:
    """Map uint8 (..., 3, h, w) to float32 with the mean and deviation of CIFAR-10's channels.

    One multiplication and one addition, in this order for one image and for many, so that both
    give the same bits; dividing by 255, subtracting and dividing differs from it by less than 1e-6.
    """
    scale, offset = _constants(images.device)
    return images.to(torch.float32).mul_(scale).add_(offset)


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return scale and offset, (3, 1, 1) each: brought to a device once, as a copy waits for it."""
    scale, offset = (torch.tensor(values, device=device) for values in (SCALE, OFFSET))
    return scale.view(3, 1, 1), offset.view(3, 1, 1)
