"""Run ``python benchmarks/loaders.py``: images a second of each loader, nobody training on them.

Windows of a second take turns in random order, all in one process: a DataLoader of transforms on
pillow images as scripts write them (benchmarks/course_script.py; torchvision's too where it can be
imported), our own per-sample pipeline with 0, 1, 2 and 4 workers, the batch loader on one core and
ahead in two threads, and the bound, which writes a constant into a new batch. What is said to be on
one core is kept on it. It reports, and does not pass or fail.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from course_script import MEAN, STD, TRANSFORM, Images
from laptime.data.batches import Batch
from laptime.data.dataset import ImageDataset
from laptime.data.loaders import EndlessLoader, build_loader
from laptime.data.synthetic import CLASSES, synthetic_images
from laptime.settings import LoaderSettings
from laptime.timing.clock import read_ns
from overhead import SEED, bootstrap_interval, write_result

BLOCKS = 10
WINDOW_S = 1.0
BATCH = 128
SAMPLES = 50_000
CPU = torch.device("cpu")
CORES = sorted(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Way:
    """One way to make batches."""

    name: str
    cores: int
    settings: LoaderSettings | None = None
    channels_last: bool = False
    transform: Callable[[Any], Any] | None = None
    """Of a script's DataLoader without workers. Without settings and transform: the bound."""


def ways() -> list[Way]:
    """Return what is compared, the slowest first."""
    transforms = {"script's transforms, 0 workers": TRANSFORM, **torchvision_transform()}
    found = [Way(name, 1, transform=given) for name, given in transforms.items()]
    found += [
        Way(f"pillow, {w} workers", 1 if w == 0 else len(CORES), loader("sample", w))
        for w in (0, 1, 2, 4)
    ]
    found += [
        Way("batch, one core", 1, loader("batch", 0)),
        Way("batch, channels last, one core", 1, loader("batch", 0), channels_last=True),
        Way("batch, two threads", 2, loader("batch", 2)),
        Way("batch, channels last, two threads", 2, loader("batch", 2), channels_last=True),
        Way("bound: a new batch is written", 1),
    ]
    return found


def torchvision_transform() -> dict[str, Any]:
    """Return torchvision's transforms of the same kind; nothing where it cannot be imported."""
    try:
        tv: Any = import_module("torchvision.transforms")
    except Exception:  # noqa: BLE001 - built for another torch, it raises what it likes
        return {}
    steps = [tv.RandomCrop(32, padding=4), tv.RandomHorizontalFlip(), tv.ToTensor()]
    return {"torchvision, 0 workers": tv.Compose([*steps, tv.Normalize(MEAN, STD)])}


def loader(kind: Any, num_workers: int) -> LoaderSettings:
    return LoaderSettings(loader=kind, num_workers=num_workers, batch_size=BATCH)


class Stream:
    """Batches of one way, on its cores, without an end."""

    def __init__(self, way: Way, dataset: ImageDataset) -> None:
        self._way = way
        self._loader: EndlessLoader | None = None
        self._script: DataLoader[Any] | None = None
        if way.transform is not None:
            upright = np.ascontiguousarray(dataset.images.transpose(0, 2, 3, 1))
            images = Images(upright, dataset.labels, way.transform)
            self._script = DataLoader(images, batch_size=BATCH, shuffle=True, drop_last=True)
        if way.settings is not None:
            self._loader = build_loader(
                dataset, way.settings, SEED, CPU,
                train=True, endless=True, channels_last=way.channels_last,
            )  # fmt: skip
            self.first_epoch_s = self._first_epoch() if way.settings.loader == "batch" else None

    def images_per_s(self) -> float:
        """Return the rate of one window, the batches that were made in advance left out."""
        os.sched_setaffinity(0, CORES[: self._way.cores])
        try:
            with_batches = self._open()
            return self._rate(with_batches)
        finally:
            if self._loader is not None:
                self._loader.close()
            os.sched_setaffinity(0, CORES)

    def _open(self) -> Iterator[Batch]:
        if self._script is not None:
            return itertools.chain.from_iterable(itertools.repeat(self._script))
        if self._loader is None:
            return (
                (torch.empty(BATCH, 3, 32, 32).fill_(1.0), torch.empty(0))
                for _ in itertools.count()
            )
        batches = self._loader.batches(1)
        settings = self._way.settings
        assert settings is not None
        for _ in range(2 + settings.num_workers * settings.prefetch_factor):
            next(batches)
        return batches

    def _rate(self, batches: Iterator[Batch]) -> float:
        start_ns, count = read_ns(), 0
        while read_ns() - start_ns < WINDOW_S * 1e9:
            for _ in range(8):
                next(batches)
                count += 1
        return count * BATCH / ((read_ns() - start_ns) / 1e9)

    def _first_epoch(self) -> float:
        """Return the seconds of the first epoch, which pads every image."""
        assert self._loader is not None
        start_ns = read_ns()
        for _ in itertools.islice(self._loader.batches(1), SAMPLES // BATCH):
            pass
        self._loader.close()
        return (read_ns() - start_ns) / 1e9


def measure() -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return images a second of every window by way, and the seconds of first epochs."""
    torch.set_num_threads(1)
    images, labels = synthetic_images(SAMPLES, first=0)
    dataset = ImageDataset(images, labels, CLASSES)
    streams = {way.name: Stream(way, dataset) for way in ways()}
    order = np.random.default_rng(SEED)
    rates: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(BLOCKS):
        for name in order.permutation(list(streams)):
            rates[name].append(streams[name].images_per_s())
    first = {n: s.first_epoch_s for n, s in streams.items() if getattr(s, "first_epoch_s", None)}
    return rates, {name: float(spent or 0) for name, spent in first.items()}


def ratio(rates: dict[str, list[float]], a: str, b: str) -> dict[str, Any]:
    """Return the median over blocks of one rate by another, with its bootstrap interval."""
    ratios = np.array(rates[a]) / np.array(rates[b])
    median: Callable[[Any], Any] = lambda rows: np.median(rows, axis=1)  # noqa: E731
    return {"median": float(np.median(ratios)), "interval": bootstrap_interval(ratios, median)}


def main() -> None:
    rates, first = measure()
    pillow, one, last = "pillow, 0 workers", "batch, one core", "batch, channels last, one core"
    script = "script's transforms, 0 workers"
    bound = "bound: a new batch is written"
    ratios = {
        "batch, one core, by the script's": ratio(rates, one, script),
        "batch, channels last, one core, by the script's": ratio(rates, last, script),
        "batch, one core, by pillow": ratio(rates, one, pillow),
        "batch, channels last, one core, by pillow": ratio(rates, last, pillow),
        "batch, one core, by the bound": ratio(rates, one, bound),
        "batch, channels last, one core, by the bound": ratio(rates, last, bound),
        "batch, two threads by one core": ratio(rates, "batch, two threads", one),
        "batch, channels last, two threads by one core": ratio(
            rates, "batch, channels last, two threads", last
        ),
    }
    write_result(
        "loaders.json",
        {
            "what": "images a second of loaders alone, windows of one process in turns",
            "n": BLOCKS, "window_s": WINDOW_S, "batch_size": BATCH, "samples": SAMPLES,
            "seed": SEED, "images_per_s": rates, "first_epoch_s": first, "ratios": ratios,
        },
    )  # fmt: skip
    print(f"loaders: {BLOCKS} windows of {WINDOW_S:g} s each, in turns")
    for name, values in rates.items():
        low, high = np.quantile(values, (0.05, 0.95))
        print(f"{name:<36}{np.median(values):>12,.0f} images/s  {low:,.0f} to {high:,.0f}")
    for name, found in ratios.items():
        low, high = found["interval"]
        print(f"{name:<50}{found['median']:>8.3g}  {low:.3g} to {high:.3g}")
    for name, spent in first.items():
        print(f"first epoch, {name}: {spent:.2f} s")


if __name__ == "__main__":
    main()
