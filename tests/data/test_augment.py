from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from laptime.data.augment import (
    MEAN,
    STD,
    augment_batch,
    augment_image,
    augmentation,
    drawn_on,
    normalise,
    shuffled,
)
from laptime.data.randomness import mix

SEEDS = st.integers(0, 2**63 - 1)


def test_mixing_gives_the_published_first_values_of_splitmix64() -> None:
    # The reference generator seeded with 1234567 prints these (Vigna, splitmix64.c).
    state, found = 1234567, []
    for _ in range(3):
        found.append(mix(state))
        state = (state + 0x9E3779B97F4A7C15) % 2**64

    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_an_integer_and_an_array_element_are_mixed_alike(values: list[int]) -> None:
    mixed = mix(np.array(values, dtype=np.uint64))

    assert mixed.tolist() == [mix(value) for value in values]


@given(st.integers(1, 500), SEEDS, st.integers(1, 1000))
def test_an_epoch_visits_every_sample_once(num_samples: int, seed: int, epoch: int) -> None:
    assert sorted(shuffled(num_samples, seed, epoch)) == list(range(num_samples))


def test_orders_differ_between_epochs_and_between_seeds() -> None:
    orders = [shuffled(100, seed, epoch).tolist() for seed in (0, 1) for epoch in (1, 2)]

    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])


def test_first_places_of_the_order_are_uniform() -> None:
    first = np.array([shuffled(10, seed, 1)[0] for seed in range(5000)])
    counts = np.bincount(first, minlength=10)

    assert abs(counts - 500).max() < 5 * np.sqrt(500 * 0.9)


def test_crops_and_flips_are_uniform_and_independent() -> None:
    drawn = augmentation(np.arange(81_000, dtype=np.uint64), seed=3, epoch=2)
    places = np.bincount((drawn.top * 9 + drawn.left).astype(np.int64), minlength=81)

    assert abs(places - 1000).max() < 5 * np.sqrt(1000)
    assert abs(int(drawn.flip.sum()) - 40_500) < 5 * np.sqrt(81_000 / 4)  # type: ignore[union-attr]
    assert int(np.max(drawn.top)) == 8


@given(SEEDS, st.integers(1, 100), st.integers(0, 49_999))
def test_one_sample_draws_what_its_place_in_an_array_draws(
    seed: int, epoch: int, index: int
) -> None:
    alone = augmentation(index, seed, epoch)
    among = augmentation(np.array([7, index], dtype=np.uint64), seed, epoch)

    assert [int(part) for part in alone] == [int(part[1]) for part in among]  # type: ignore[index]


def test_a_batch_is_cropped_and_mirrored_as_each_image_is() -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (200, 3, 32, 32), dtype=np.uint8)
    indices = np.arange(200, dtype=np.uint64)

    drawn = drawn_on(torch.device("cpu"), augmentation(indices, 5, 1))
    whole = augment_batch(torch.from_numpy(images), drawn)

    for i in range(200):
        alone = augment_image(Image.fromarray(images[i].transpose(1, 2, 0)), augmentation(i, 5, 1))
        assert np.array_equal(np.array(alone).transpose(2, 0, 1), whole[i].numpy())


def test_normalising_one_and_many_gives_the_same_bits() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(12 * 2).view(2, 3, 32, 32)

    many = normalise(images)

    assert torch.equal(many[1], normalise(images[1]))
    assert many[0, 0, 0, 0].item() == pytest.approx((0 - 0.4914) / 0.2023)
    assert many[0, 2, 31, 31].item() == pytest.approx((1 - 0.4465) / 0.2010)


def test_normalising_is_what_dividing_subtracting_and_dividing_gives_but_for_rounding() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(12).view(1, 3, 32, 32)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)

    usual = images.float().div(255).sub(mean).div(std)

    assert (normalise(images) - usual).abs().max() < 1e-6
