"""CIFAR-10 in its binary and its Python version, unpacked or still in the official archive."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from laptime.data.archive import BINARY_ARCHIVE, MAX_FILE_BYTES, OfficialFile, read_members
from laptime.data.dataset import IMAGE_SHAPE, Data, ImageDataset
from laptime.data.pickled import read_pickled
from laptime.errors import DataError
from laptime.files import sha256_of

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

OFFICIAL = "official copy, verified"
UNVERIFIED = "unverified copy"

_PIXELS = 3 * 32 * 32
_REMEDY = "Get it again with `laptime data cifar10`."

Rows = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""Images (n, 3072) and labels (n,) of one batch file."""


@dataclass(frozen=True)
class Layout:
    """One of the two forms in which CIFAR-10 is handed out."""

    folder: str
    """The name of the unpacked folder, also inside the archive."""
    train: tuple[str, ...]
    test: str
    meta: str
    archive: OfficialFile
    read_rows: Callable[[bytes, str], Rows]
    read_classes: Callable[[bytes, str], tuple[str, ...]]
    md5: Mapping[str, str]
    """Checksums of the unpacked official files, where somebody publishes them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all files."""
        return (*self.train, self.test, self.meta)


def read_folder(folder: Path, layout: Layout) -> Data:
    """Read the batch files of an unpacked folder.

    Raises:
        DataError: A batch is missing, damaged, or holds something other than CIFAR-10 does.
    """
    files = {name: _file(folder / name) for name in layout.names if (folder / name).is_file()}
    return _data(files, layout, folder, verified=_matches_md5(files, layout.md5))


def read_archive(archive: Path) -> Data:
    """Read an archive of either version in memory; its checksum decides whether it is official.

    Raises:
        DataError: It is damaged or hostile, or holds something other than CIFAR-10 does.
    """
    with ThreadPoolExecutor(1) as pool:  # hashing and unpacking each take a core for a while
        checksum = pool.submit(_official_sha256, archive)
        folder, files = read_members(archive, {it.folder: it.names for it in LAYOUTS})
        layout = next(it for it in LAYOUTS if it.folder == folder)
        verified = checksum.result() == layout.archive.sha256
    return _data(files, layout, archive, verified=verified)


def _data(files: Mapping[str, bytes], layout: Layout, source: Path, *, verified: bool) -> Data:
    missing = [name for name in (*layout.train, layout.test) if name not in files]
    if missing:
        raise DataError(f"{source} has no {', '.join(missing)}. {_REMEDY}")
    rows = {
        name: _checked_rows(*layout.read_rows(files[name], str(source / name)), source / name)
        for name in (*layout.train, layout.test)
    }
    meta = files.get(layout.meta)
    classes = layout.read_classes(meta, str(source / layout.meta)) if meta else CLASSES
    if len(classes) != len(CLASSES):
        raise DataError(
            f"{source / layout.meta} names {len(classes)} classes, but CIFAR-10 has ten. {_REMEDY}"
        )
    return Data(
        train=_dataset([rows[name] for name in layout.train], classes),
        test=_dataset([rows[layout.test]], classes),
        name="cifar10",
        source=str(source),
        label=OFFICIAL if verified else UNVERIFIED,
        verified=verified,
    )


def _dataset(batches: list[Rows], classes: tuple[str, ...]) -> ImageDataset:
    images = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    return ImageDataset(images.reshape(-1, *IMAGE_SHAPE), labels, classes)


def _checked_rows(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], path: Path) -> Rows:
    if not len(images):
        raise DataError(f"{path} holds no images. {_REMEDY}")
    if len(images) != len(labels):
        raise DataError(f"{path} has {len(images)} images but {len(labels)} labels. {_REMEDY}")
    outside = labels[(labels < 0) | (labels >= len(CLASSES))]
    if outside.size:
        raise DataError(f"{path} has the label {outside[0]}; CIFAR-10 has 0 to 9. {_REMEDY}")
    return images, labels


def _binary_rows(content: bytes, name: str) -> Rows:
    """Split records of one label byte and 3,072 bytes of pixels, channel by channel."""
    if len(content) % (1 + _PIXELS):
        raise DataError(
            f"{name} has {len(content):,} bytes, which is no multiple of {1 + _PIXELS:,}: "
            f"it is cut short or damaged. {_REMEDY}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0].astype(np.int64)


def _binary_classes(content: bytes, _: str) -> tuple[str, ...]:
    return tuple(content.decode("ascii", errors="replace").split())


def _pickled_rows(content: bytes, name: str) -> Rows:
    batch = _pickled_dict(content, name)
    images, labels = batch.get("data"), batch.get("labels")
    if not isinstance(images, np.ndarray) or images.shape[1:] != (_PIXELS,):
        found = f"of shape {images.shape}" if isinstance(images, np.ndarray) else "no array"
        raise DataError(f"{name}: data is {found}, but must be rows of {_PIXELS:,}. {_REMEDY}")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{name}: labels are not a list of whole numbers. {_REMEDY}")
    outside = [label for label in labels if not 0 <= label < len(CLASSES)]
    if outside:
        raise DataError(
            f"{name} has a label outside 0 to 9, for example {str(outside[0])[:20]}. {_REMEDY}"
        )
    return images, np.array(labels, np.int64)


def _pickled_classes(content: bytes, name: str) -> tuple[str, ...]:
    names = _pickled_dict(content, name).get("label_names")
    if not isinstance(names, list) or not all(isinstance(it, str | bytes) for it in names):
        raise DataError(f"{name}: label_names are not a list of names. {_REMEDY}")
    return tuple(_as_text(it) for it in names)


def _pickled_dict(content: bytes, name: str) -> dict[str, object]:
    """Read a pickled dict; Python 2 wrote its keys as str, Python 3 as bytes."""
    batch = read_pickled(content, name)
    if not isinstance(batch, dict):
        raise DataError(f"{name} holds no dict of data and labels. {_REMEDY}")
    return {_as_text(key): value for key, value in batch.items() if isinstance(key, str | bytes)}


def _as_text(name: str | bytes) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else name


def _file(path: Path) -> bytes:
    """Read a batch file, unless it is far larger than any of CIFAR-10."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise DataError(f"{path} has {size:,} bytes, more than any file of CIFAR-10. {_REMEDY}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Check its permissions."
        ) from error


def _matches_md5(files: Mapping[str, bytes], md5: Mapping[str, str]) -> bool:
    """Compare with published MD5s: they tell copies apart, they do not protect from malice."""
    return bool(md5) and all(
        hashlib.md5(files.get(name, b""), usedforsecurity=False).hexdigest() == expected
        for name, expected in md5.items()
    )


def _official_sha256(archive: Path) -> str | None:
    """Return the checksum of an archive of an official size; others need no reading twice."""
    if archive.stat().st_size in {it.archive.num_bytes for it in LAYOUTS}:
        return sha256_of(archive)
    return None


BINARY = Layout(
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test="test_batch.bin",
    meta="batches.meta.txt",
    archive=BINARY_ARCHIVE,
    read_rows=_binary_rows,
    read_classes=_binary_classes,
    md5={},
)

PYTHON = Layout(
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    archive=OfficialFile(
        name="cifar-10-python.tar.gz",
        num_bytes=170_498_071,
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    read_rows=_pickled_rows,
    read_classes=_pickled_classes,
    md5={  # as torchvision publishes them in torchvision/datasets/cifar.py
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
)

LAYOUTS = (BINARY, PYTHON)
