"""The embedded set: the same everywhere, balanced, and drawn sample by sample."""

from __future__ import annotations

import numpy as np

from laptime.data.catalog import build_data
from laptime.data.synthetic import (
    NUM_TEST,
    NUM_TRAIN,
    SYNTHETIC_SHA256,
    build_synthetic,
    synthetic_images,
)
from laptime.settings import DataSettings


def test_the_set_has_the_checksum_it_always_had() -> None:
    data = build_data(DataSettings(data="synthetic"))
    assert data.sha256 == SYNTHETIC_SHA256
    assert data.verified
    assert data.label == "embedded set"
    assert (len(data.train), len(data.test or [])) == (NUM_TRAIN, NUM_TEST)


def test_a_sample_depends_on_its_index_alone() -> None:
    images, labels = synthetic_images(700, first=0)
    some_images, some_labels = synthetic_images(40, first=511)
    assert np.array_equal(images[511:551], some_images)
    assert np.array_equal(labels[511:551], some_labels)


def test_every_ten_samples_are_of_ten_classes() -> None:
    _, labels = synthetic_images(1000, first=0)
    assert all(len(set(ten)) == 10 for ten in labels.reshape(100, 10).tolist())


def test_samples_at_regular_distances_are_of_all_classes() -> None:
    _, labels = synthetic_images(20_000, first=0)
    for distance in (2, 5, 10, 100):
        counts = np.bincount(labels[::distance], minlength=10)
        assert counts.min() > 0.4 * counts.mean()


def test_images_have_the_shape_and_type_of_cifar10() -> None:
    images, labels = synthetic_images(5, first=0)
    assert (images.shape, images.dtype, labels.dtype) == ((5, 3, 32, 32), np.uint8, np.int64)


def test_fewer_samples_are_the_first_ones_and_the_test_set_stays_whole() -> None:
    data = build_synthetic(30)
    assert np.array_equal(data.train.images, synthetic_images(30, first=0)[0])
    assert data.test is not None
    assert len(data.test) == NUM_TEST
    assert data.verified


def test_training_and_test_images_differ() -> None:
    train, _ = synthetic_images(100, first=0)
    test, _ = synthetic_images(100, first=NUM_TRAIN)
    assert not np.array_equal(train, test)


def test_a_class_is_recognised_by_its_mean_image_better_than_by_chance_and_not_always() -> None:
    images, labels = synthetic_images(4000, first=0)
    flat = images.reshape(4000, -1).astype(np.float64)
    means = np.stack([flat[:3000][labels[:3000] == k].mean(axis=0) for k in range(10)])
    distances = ((flat[3000:, None] - means) ** 2).sum(axis=2)
    accuracy = (distances.argmin(axis=1) == labels[3000:]).mean()
    assert 0.2 < accuracy < 0.9
