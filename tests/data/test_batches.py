from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from tests.data.test_loaders import images

from laptime.data.batches import BatchImages, BatchLoader
from laptime.data.keys import EndlessKeys, EpochKeys
from laptime.data.loaders import build_loader
from laptime.settings import LoaderSettings
from laptime.training.step import Mover

CPU = torch.device("cpu")


def made(**given: Any) -> BatchImages:
    settings = {"augment": True, "channels_last": False, "raw": False, **given}
    return BatchImages(images(), 3, **settings)


def loader(keys: EpochKeys, num_workers: int, **given: Any) -> BatchLoader:
    return BatchLoader(
        made(**given), keys, 50, num_workers=num_workers, prefetch_factor=2, pin_memory=False
    )


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("laptime-loader")]


KEY = (2, np.array([7, 3, 11, 3], np.int64))


def test_channels_last_changes_how_a_batch_lies_and_no_value() -> None:
    plain, last = made()[KEY][0], made(channels_last=True)[KEY][0]

    assert torch.equal(plain, last)
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels_last", [False, True])
def test_what_a_mover_normalises_is_what_a_batch_is_on_the_host(channels_last: bool) -> None:
    raw = made(raw=True, channels_last=channels_last)[KEY]
    mover = Mover(CPU, channels_last=channels_last, normalises=True)

    moved, labels = mover(raw)

    expected = made()[KEY]
    assert raw[0].dtype is torch.uint8
    assert torch.equal(moved, expected[0])
    assert torch.equal(labels, expected[1])
    assert torch.equal(mover((moved, labels))[0], moved)


def test_a_users_own_bytes_are_not_normalised() -> None:
    inputs = torch.ones(2, 5, dtype=torch.uint8)

    moved, _ = Mover(CPU, channels_last=False)((inputs, torch.zeros(2)))

    assert torch.equal(moved, inputs)


def test_batches_for_another_device_come_as_bytes() -> None:
    settings = LoaderSettings(loader="batch", batch_size=16, num_workers=0)

    on_a_device = build_loader(images(), settings, 3, torch.device("meta"), train=True)

    assert next(on_a_device.batches(1))[0].dtype is torch.uint8


@pytest.mark.parametrize("num_workers", [1, 3])
def test_threads_end_with_the_epoch_and_when_it_is_given_up(num_workers: int) -> None:
    ahead = loader(EpochKeys(50, 8, 3, shuffle=True), num_workers)

    assert len(list(ahead.batches(1))) == 7
    assert threads() == []

    next(ahead.batches(2))
    assert len(threads()) in range(1, num_workers + 1)
    ahead.close()
    assert threads() == []


def test_an_endless_stream_ends_with_what_is_under_way() -> None:
    ahead = loader(EndlessKeys(50, 8, 3, shuffle=True), 2)
    batches = ahead.batches(1)
    for _ in range(20):
        next(batches)

    ahead.let_end()

    assert len(list(batches)) == 2 * 2
    assert threads() == []


def test_an_error_in_a_thread_reaches_whoever_asks_for_the_batch() -> None:
    ahead = loader(EpochKeys(60, 8, 3, shuffle=False), 2)  # ten more than there are

    batches = ahead.batches(1)
    for _ in range(6):
        next(batches)
    with pytest.raises(IndexError):
        next(batches)
    assert threads() == []
