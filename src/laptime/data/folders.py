"""Images in files: the parquet files of the hub's CIFAR-10, and a folder for each class."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from laptime.data.cifar10 import CLASSES, UNVERIFIED
from laptime.data.dataset import IMAGE_SHAPE, Data, ImageDataset
from laptime.errors import DataError

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp"})
_FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP")
_MAX_IMAGE_BYTES = 4 << 20
_MAX_ROWS = 200_000

# What a damaged image can make pillow raise; DecompressionBombError is for sizes far beyond 32x32.
_DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    zlib.error,
    struct.error,
    Image.DecompressionBombError,
)


def find_parquet(directory: Path) -> Path | None:
    """Return the directory, or its ``plain_text``, that holds the hub's training files."""
    for folder in (directory, directory / "plain_text"):
        if any(folder.glob("train-*.parquet")):
            return folder
    return None


def read_parquet(folder: Path) -> Data:
    """Read ``train-*.parquet`` and ``test-*.parquet`` of the hub data set ``uoft-cs/cifar10``.

    Raises:
        DataError: pyarrow is missing, or a file is, or one is damaged.
    """
    train, test = (sorted(folder.glob(f"{part}-*.parquet")) for part in ("train", "test"))
    if not train or not test:
        missing = "test" if train else "train"
        raise DataError(f"{folder} has no {missing}-*.parquet. Get the data set again.")
    return Data(
        train=_parquet_dataset(train),
        test=_parquet_dataset(test),
        name="cifar10",
        source=str(folder),
        label=UNVERIFIED,
        verified=False,
    )


def _parquet_dataset(files: Sequence[Path]) -> ImageDataset:
    parts = [_parquet_rows(file) for file in files]
    encoded = list(chain.from_iterable(images for images, _ in parts))
    names = chain.from_iterable(
        (f"{file}, row {row}" for row in range(len(images)))
        for file, (images, _) in zip(files, parts, strict=True)
    )
    if not encoded:
        raise DataError(f"{files[0]} holds no images. Get the data set again.")
    labels = np.concatenate([labels for _, labels in parts])
    return ImageDataset(_decode_all(zip(names, encoded, strict=True), _decoded), labels, CLASSES)


def _parquet_rows(file: Path) -> tuple[list[Any], npt.NDArray[np.int64]]:
    """Return the encoded images and the labels of one file."""
    try:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(
            f"{file} is a parquet file, and pyarrow, which reads it, is not installed. "
            f"Run `pip install 'laptime[hub]'`."
        ) from error
    try:
        content = pq.ParquetFile(file)
        _check_num_rows(file, content.metadata.num_rows)
        table = content.read(columns=["img", "label"])
        encoded = pc.struct_field(table["img"], "bytes").to_pylist()
        labels = np.array(table["label"].cast(pa.int64()).to_pylist(), np.int64)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{file} cannot be read as img and label columns "
            f"({type(error).__name__}: {str(error)[:200]}). Get the data set again."
        ) from error
    return encoded, labels


def _check_num_rows(file: Path, num_rows: int) -> None:
    if num_rows > _MAX_ROWS:
        raise DataError(
            f"{file} has {num_rows:,} rows, but CIFAR-10 has 50,000. Give other data as "
            f"--data file.py:factory."
        )


def has_class_folders(root: Path) -> bool:
    """Tell whether a folder, or its ``train``, holds a folder of images for each class."""
    return any(_image_files(folder) for folder in _folders(_train_folder(root)))


def read_class_folders(root: Path) -> Data:
    """Read ``train/<class>/*.png`` and ``test/<class>/*.png``, or ``<class>/*.png`` alone.

    ``val`` and ``valid`` mean ``test``. Classes and files come in the order of their names.

    Raises:
        DataError: A class has no images, or an image is damaged or not 32x32.
    """
    train = _train_folder(root)
    tests = [root / name for name in ("test", "val", "valid") if (root / name).is_dir()]
    classes = tuple(folder.name for folder in _folders(train))
    return Data(
        train=_folder_dataset(train, classes),
        test=_folder_dataset(tests[0], classes) if tests and train != root else None,
        name="folder",
        source=str(root),
        label="your own",
        verified=False,
    )


def _train_folder(root: Path) -> Path:
    """Return ``train`` if it has class folders; otherwise it may be a class of that name."""
    train = root / "train"
    return train if train.is_dir() and _folders(train) else root


def _folder_dataset(root: Path, classes: tuple[str, ...]) -> ImageDataset:
    files: list[Path] = []
    labels: list[int] = []
    for folder in _folders(root):
        if folder.name not in classes:
            raise DataError(f"{folder} is a class that the training set does not have. Remove it.")
        found = _image_files(folder)
        if not found:
            raise DataError(f"{folder} holds no image ({_offered()}). Remove it, or fill it.")
        files += found
        labels += [classes.index(folder.name)] * len(found)
    if not files:
        raise DataError(f"{root} holds no folder with images ({_offered()}). Check the path.")
    images = _decode_all(((str(file), file) for file in files), _read_image)
    return ImageDataset(images, np.array(labels, np.int64), classes)


def _folders(root: Path) -> list[Path]:
    """Return the folders in a folder, by name, hidden ones left out; one level only."""
    return [path for path in _entries(root) if path.is_dir()]


def _image_files(folder: Path) -> list[Path]:
    return [
        path for path in _entries(folder) if path.suffix.lower() in _SUFFIXES and path.is_file()
    ]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}. Check the path.") from error


def _offered() -> str:
    return ", ".join(sorted(_SUFFIXES))


def _decode_all(
    sources: Iterable[tuple[str, Any]], decode: Callable[[str, Any], npt.NDArray[np.uint8]]
) -> npt.NDArray[np.uint8]:
    """Decode one after another: threads would wait for each other at images this small.

    60,000 JPEG images take 3 s on one core of a 2-core cloud machine, and 4 s with four threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large sizes and odd palettes: the size is checked
        images = np.stack([decode(*source) for source in sources])  # (n, 32, 32, 3)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _read_image(name: str, file: Path) -> npt.NDArray[np.uint8]:
    try:
        size = file.stat().st_size
        content = file.read_bytes() if size <= _MAX_IMAGE_BYTES else None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}. Check the path.") from error
    if content is None:
        raise DataError(f"{name} has {size:,} bytes, too many for a 32x32 image. Remove it.")
    return _decoded(name, content)


def _decoded(name: str, content: Any) -> npt.NDArray[np.uint8]:
    """Decode one image to (32, 32, 3); its size is known, and refused, before its pixels are."""
    if not isinstance(content, bytes):
        raise DataError(f"{name} holds no image bytes. Get the data set again.")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.size != IMAGE_SHAPE[1:]:
                raise _wrong_size(name, image.size)
            pixels = (image if image.mode == "RGB" else image.convert("RGB")).tobytes()
    except _DAMAGED as error:
        raise DataError(
            f"{name} is not a readable image ({type(error).__name__}). Replace or remove it."
        ) from error
    return np.frombuffer(pixels, np.uint8).reshape(32, 32, 3)


def _wrong_size(name: str, size: tuple[int, int]) -> DataError:
    return DataError(
        f"{name} is {size[0]}x{size[1]}, but images must be 32x32. Give other sizes as "
        f"--data file.py:factory, with a factory that returns your dataset."
    )
