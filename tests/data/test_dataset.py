"""Images and labels in memory."""

from __future__ import annotations

import numpy as np
import pytest

from laptime.data.dataset import Data, ImageDataset, evenly_spaced
from laptime.errors import DataError

CLASSES = ("cat", "dog")


def dataset(num_samples: int) -> ImageDataset:
    images = np.zeros((num_samples, 3, 32, 32), np.uint8)
    images[:, 0, 0, 0] = np.arange(num_samples)
    return ImageDataset(images, np.arange(num_samples) % 2, CLASSES)


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 32, 32, 3), (2, 3072), (2, 1, 32, 32)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"shape .*file\.py:factory"):
        ImageDataset(np.zeros(shape, np.uint8), np.zeros(2, np.int64), CLASSES)


def test_images_of_another_type_are_refused() -> None:
    with pytest.raises(DataError, match="float32"):
        ImageDataset(np.zeros((2, 3, 32, 32), np.float32), np.zeros(2, np.int64), CLASSES)


def test_there_are_as_many_labels_as_images() -> None:
    with pytest.raises(DataError, match="2 images have 3 labels"):
        ImageDataset(np.zeros((2, 3, 32, 32), np.uint8), np.zeros(3, np.int64), CLASSES)


@pytest.mark.parametrize("label", [-1, 2, 255])
def test_a_label_without_a_class_is_refused(label: int) -> None:
    with pytest.raises(DataError, match=f"label {label} is out of range"):
        ImageDataset(np.zeros((1, 3, 32, 32), np.uint8), np.array([label]), CLASSES)


def test_images_and_labels_are_read_only() -> None:
    held = dataset(4)
    assert not held.images.flags.writeable
    assert not held.labels.flags.writeable


@pytest.mark.parametrize(("count", "length"), [(1, 1), (1, 50_000), (3, 10), (10, 10), (512, 5085)])
def test_evenly_spaced_indices_are_distinct_and_inside(count: int, length: int) -> None:
    chosen = evenly_spaced(count, length)
    assert len(np.unique(chosen)) == count
    assert chosen[0] == 0
    assert chosen[-1] < length
    assert np.ptp(np.diff(chosen)) <= 1 if count > 2 else True


def test_a_subset_is_spread_over_the_whole_set() -> None:
    assert dataset(10).subset(5).images[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8]


def test_a_subset_larger_than_the_set_is_refused() -> None:
    with pytest.raises(DataError, match=r"samples is 5, .* has 4. Use --samples 4 or fewer"):
        dataset(4).subset(5)


def test_a_record_counts_what_is_in_use() -> None:
    data = Data(dataset(4), None, "cifar10", "here", "unverified copy", verified=False)
    record = data.record()
    assert (record.train_samples, record.test_samples, record.num_classes) == (4, 0, 2)
