from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from laptime.data.augment import Augmentation, augment_image, augmentation, normalise
from laptime.data.crops import Crops, normalised


def drawn_images(count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_batch_of_crops_is_what_pillow_makes_of_each_image(channels_last: bool) -> None:
    images, indices = drawn_images(300), np.random.default_rng(1).permutation(300)
    crops = Crops(images, channels_last=channels_last)
    starts = crops.starts(augmentation(np.arange(300, dtype=np.uint64), 5, 1))

    taken = crops.take(indices, starts)

    for crop, index in zip(taken, indices.tolist(), strict=True):
        image = Image.fromarray(images[index].transpose(1, 2, 0))
        expected = np.array(augment_image(image, augmentation(index, 5, 1)))
        assert np.array_equal(crop if channels_last else crop.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("channels_last", [False, True])
def test_every_place_and_both_sides_are_the_window_at_that_place(channels_last: bool) -> None:
    images = drawn_images(162)
    crops = Crops(images, channels_last=channels_last)
    padded = np.pad(images, ((0, 0), (0, 0), (4, 4), (4, 4)))
    tops, lefts, flips = (part.ravel() for part in np.mgrid[0:9, 0:9, 0:2])

    taken = crops.take(np.arange(162), crops.starts(Augmentation(tops, lefts, flips)))

    for image, crop, top, left, flip in zip(padded, taken, tops, lefts, flips, strict=True):
        window = image[:, top : top + 32, left : left + 32]
        expected = window[:, :, ::-1] if flip else window
        assert np.array_equal(crop.transpose(2, 0, 1) if channels_last else crop, expected)


def test_an_image_is_read_once_however_often_it_is_asked_for() -> None:
    images = drawn_images(2)
    crops = Crops(images, channels_last=False)
    starts = crops.starts(Augmentation(*(np.array([4, 4]) for _ in range(2)), np.array([0, 0])))
    first = crops.take(np.array([1]), starts)
    images[:] = 0

    again = crops.take(np.array([1]), starts)

    assert np.array_equal(first, again)


@pytest.mark.parametrize("by_torch", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_normalising_gives_the_bits_that_torch_gives_for_every_value(
    channels_last: bool, by_torch: bool
) -> None:
    pixels = np.arange(4 * 3072, dtype=np.int64).astype(np.uint8).reshape(4, 3, 32, 32)
    lying = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)) if channels_last else pixels

    values = normalised(lying, channels_last=channels_last, by_torch=by_torch)

    ours = values.permute(0, 3, 1, 2) if channels_last else values
    assert torch.equal(ours, normalise(torch.from_numpy(pixels)))
