from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from laptime.data.batches import Batch
from laptime.data.dataset import ImageDataset
from laptime.data.loaders import Loader, build_loader
from laptime.errors import SettingsError
from laptime.settings import LoaderSettings

CPU = torch.device("cpu")


def images(count: int = 50) -> ImageDataset:
    generator = np.random.default_rng(1)
    return ImageDataset(
        generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8),
        generator.integers(0, 10, count),
        tuple("abcdefghij"),
    )


def loader(dataset: Any = None, *, seed: int = 3, train: bool = True, **given: Any) -> Loader:
    settings = LoaderSettings(**{"batch_size": 16, "num_workers": 0, **given})
    return build_loader(dataset or images(), settings, seed, CPU, train=train)


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d)
        for (a, b), (c, d) in zip(first, second, strict=True)
    )


@pytest.fixture
def reference() -> list[list[Batch]]:
    plain = loader()
    return [list(plain.batches(epoch)) for epoch in (1, 2)]


@pytest.mark.parametrize("kind", ["sample", "batch"])
@pytest.mark.parametrize("num_workers", [0, 1, 2, 4])
@pytest.mark.parametrize("persistent", [False, True])
def test_batches_are_the_same_bits_for_any_loader_and_number_of_workers(
    reference: list[list[Batch]], kind: str, num_workers: int, persistent: bool
) -> None:
    made = loader(loader=kind, num_workers=num_workers, persistent_workers=persistent)

    for epoch, expected in enumerate(reference, 1):
        assert same(list(made.batches(epoch)), expected)


def test_the_loader_on_the_device_gives_the_same_batches(reference: list[list[Batch]]) -> None:
    assert same(list(loader(loader="device").batches(1)), reference[0])


@pytest.mark.parametrize("kind", ["sample", "batch", "device"])
def test_an_epoch_goes_on_where_it_was_left(reference: list[list[Batch]], kind: str) -> None:
    assert same(list(loader(loader=kind).batches(2, first_step=2)), reference[1][2:])


def test_epochs_and_seeds_differ_and_every_sample_comes_once(
    reference: list[list[Batch]],
) -> None:
    assert not same(reference[0], reference[1])
    assert not same(list(loader(seed=4).batches(1)), reference[0])
    assert [len(labels) for _, labels in reference[0]] == [16, 16, 16, 2]


def test_a_test_set_comes_in_order_and_without_augmentation() -> None:
    dataset = images()

    batches = list(loader(dataset, train=False, loader="batch").batches(1))

    assert torch.cat([labels for _, labels in batches]).tolist() == dataset.labels.tolist()
    first = torch.from_numpy(dataset.images[0].copy()).float() / 255
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    expected = (first - mean[:, None, None]) / std[:, None, None]
    assert torch.allclose(batches[0][0][0], expected, atol=1e-6)


class Numbers:
    """A dataset as a user writes one."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.tensor([float(index)]), index % 2


def test_a_users_dataset_is_asked_for_plain_indices_in_our_order() -> None:
    batches = list(loader(Numbers(), batch_size=4).batches(1))

    seen = [int(value) for inputs, _ in batches for value in inputs]
    assert sorted(seen) == list(range(10))
    assert seen != list(range(10))


def test_a_users_dataset_takes_no_loader_for_images() -> None:
    with pytest.raises(SettingsError, match="Use --loader sample"):
        loader(Numbers(), loader="batch")


def test_no_workers_takes_no_option_about_workers() -> None:
    made = loader(num_workers=0, persistent_workers=True, prefetch_factor=7)

    assert len(list(made.batches(1))) == 4
