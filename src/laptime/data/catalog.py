"""From the name or path that ``--data`` takes to images and labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from laptime.data.cifar10 import BINARY, LAYOUTS, PYTHON, read_archive, read_folder
from laptime.data.dataset import (
    Data,
    ImageDataset,
    MapDataset,
    evenly_spaced,
    hold_out,
    part_of,
)
from laptime.data.folders import find_parquet, has_class_folders, read_class_folders, read_parquet
from laptime.data.synthetic import NUM_TRAIN, build_synthetic
from laptime.errors import DataError
from laptime.factory import build_from_factory, is_factory
from laptime.settings import DataSettings

_KNOWN = (
    "Give synthetic, cifar10, a factory (file.py:factory), or a folder with CIFAR-10 "
    "(cifar-10-batches-py, cifar-10-batches-bin, their .tar.gz, or parquet files), "
    "or with a folder for each class."
)


def build_data(settings: DataSettings) -> Data:
    """Find, read and check what the settings name, and keep as many samples as they ask for.

    Nothing is downloaded. What is held out of those samples takes the place of the test set.

    Raises:
        DataError: There is no such data, it is damaged, or has fewer samples.
    """
    try:
        whole = _SOURCES.get(settings.data, _build_given)(settings)
        return _with_checksum(hold_out(whole, settings.holdout))
    except OSError as error:  # a name too long for a path, a folder that may not be entered
        raise DataError(
            f"data is {settings.data[:200]!r}, which cannot be read: {error.strerror}. {_KNOWN}"
        ) from error


def _build_auto(settings: DataSettings) -> Data:
    read = _find_cifar10(_data_dir(settings))
    return _first(read(), settings) if read else _build_synthetic(settings)


def _build_cifar10(settings: DataSettings) -> Data:
    directory = _data_dir(settings)
    read = _find_cifar10(directory)
    if read is None:
        raise DataError(
            f"data is cifar10, but {directory} does not hold it. Get it with "
            f"`laptime data cifar10 --data-dir {directory}`, or use --data synthetic."
        )
    return _first(read(), settings)


def _build_synthetic(settings: DataSettings) -> Data:
    num_samples = settings.samples or NUM_TRAIN
    if num_samples > NUM_TRAIN:
        raise _too_few(num_samples, NUM_TRAIN)
    return build_synthetic(num_samples)


def _build_given(settings: DataSettings) -> Data:
    """Read a path, or build what a factory of the user makes."""
    path = _path(settings.data)
    if not path.exists() and is_factory(settings.data):
        return _first(_build_own(settings.data), settings)
    return _first(_read_path(path, settings.data), settings)


_SOURCES: dict[str, Callable[[DataSettings], Data]] = {
    "auto": _build_auto,
    "cifar10": _build_cifar10,
    "synthetic": _build_synthetic,
}


def _data_dir(settings: DataSettings) -> Path:
    return _path(settings.data_dir or os.environ.get("LAPTIME_DATA") or "data")


def _path(given: str) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise DataError(f"{given!r} starts with an unknown user. Check the path.") from error


def _read_path(path: Path, given: str) -> Data:
    if not path.exists():
        raise DataError(f"data is {given!r}, but there is no such name or path. {_KNOWN}")
    if path.suffix == ".py":
        raise DataError(f"data is {given!r}. Name the function in it too: {given}:factory.")
    if path.name.endswith((".tar.gz", ".tgz")):
        return read_archive(path)
    folder = path.parent if path.suffix == ".parquet" else path
    read = _find_cifar10(folder)
    if read is not None:
        return read()
    if folder.is_dir() and has_class_folders(folder):
        return read_class_folders(folder)
    raise DataError(f"data is {given!r}, where nothing known was found. {_KNOWN}")


def _find_cifar10(directory: Path) -> Callable[[], Data] | None:
    """Return a reader of the CIFAR-10 that a directory is or holds.

    An archive of the official size comes first: it is what ``laptime data cifar10`` fetched, and
    its checksum tells more than that of an unpacked copy beside it.
    """
    archives = [directory / layout.archive.name for layout in LAYOUTS]
    for archive, layout in zip(archives, LAYOUTS, strict=True):
        if archive.is_file() and archive.stat().st_size == layout.archive.num_bytes:
            return partial(read_archive, archive)
    for layout in (PYTHON, BINARY):
        if (directory / layout.folder).is_dir():
            return partial(read_folder, directory / layout.folder, layout)
        if any((directory / name).is_file() for name in layout.train):
            return partial(read_folder, directory, layout)
    for archive in archives:
        if archive.is_file():
            return partial(read_archive, archive)
    parquet = find_parquet(directory)
    return partial(read_parquet, parquet) if parquet else None


def _build_own(spec: str) -> Data:
    """Build the user's map-style dataset, or pair of them."""
    made = build_from_factory(spec, what="data", error=DataError)
    if isinstance(made, tuple) and len(made) != 2:
        raise DataError(
            f"data is {spec!r}, which returned a tuple of {len(made)}. Return one dataset, or two: "
            f"training set, test set."
        )
    train, test = made if isinstance(made, tuple) else (made, None)
    return Data(
        train=_checked(train, spec, "training set"),
        test=None if test is None else _checked(test, spec, "test set"),
        name=Path(spec).name,
        source=spec,
        label="your own",
        verified=False,
    )


def _checked(dataset: Any, spec: str, part: str) -> MapDataset:
    kind = type(dataset).__name__
    is_map_style = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    is_iterable = any(base.__name__ == "IterableDataset" for base in type(dataset).__mro__)
    if not is_map_style or is_iterable or isinstance(dataset, str | bytes | dict):
        raise DataError(
            f"data is {spec!r}, whose {part} is of type {kind}. Return a map-style dataset "
            f"(with __len__ and __getitem__), or a pair of them: training set, test set."
        )
    try:
        length = len(dataset)
    except Exception as error:
        raise DataError(
            f"data is {spec!r}, whose {part} ({kind}) has no length "
            f"({type(error).__name__}: {error}). Return a map-style dataset."
        ) from error
    if not length:
        raise DataError(f"data is {spec!r}, whose {part} ({kind}) is empty. Give it samples.")
    return dataset  # type: ignore[no-any-return]


def _first(data: Data, settings: DataSettings) -> Data:
    """Keep as many training samples as asked for; the test set stays whole."""
    if settings.samples is None:
        return data
    if isinstance(data.train, ImageDataset):
        return replace(data, train=data.train.subset(settings.samples))
    if settings.samples > len(data.train):
        raise _too_few(settings.samples, len(data.train))
    return replace(
        data, train=part_of(data.train, evenly_spaced(settings.samples, len(data.train)))
    )


def _too_few(asked: int, there: int) -> DataError:
    return DataError(
        f"samples is {asked:,}, but the training set has {there:,}. Use --samples {there} or fewer."
    )


def _with_checksum(data: Data) -> Data:
    """Add the SHA-256 over images and labels of the training set, then of the test set."""
    digest = hashlib.sha256()
    for part in (data.train, data.test):
        if part is None:
            continue
        if not isinstance(part, ImageDataset):
            return data
        digest.update(np.ascontiguousarray(part.images).data)
        digest.update(np.ascontiguousarray(part.labels, "<i8").data)
    return replace(data, sha256=digest.hexdigest())
