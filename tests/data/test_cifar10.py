"""CIFAR-10 in its binary and Python versions: what is checked, and what is called official."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import random
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laptime.data.archive import MAX_FILE_BYTES
from laptime.data.cifar10 import BINARY, PYTHON, read_archive, read_folder
from laptime.data.dataset import Data, ImageDataset
from laptime.errors import DataError, LaptimeError

ROWS = 7


def parts(data: Data) -> tuple[ImageDataset, ImageDataset]:
    assert isinstance(data.train, ImageDataset)
    assert isinstance(data.test, ImageDataset)
    return data.train, data.test


def rewrite(path: Path, change: Callable[[dict[bytes, Any]], object]) -> None:
    batch = pickle.loads(path.read_bytes())
    change(batch)
    path.write_bytes(pickle.dumps(batch, protocol=4))


def test_both_versions_give_the_same_images_and_labels(
    python_folder: Path, binary_folder: Path
) -> None:
    python = parts(read_folder(python_folder, PYTHON))
    binary = parts(read_folder(binary_folder, BINARY))
    for one, other in zip(python, binary, strict=True):
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.labels, other.labels)
    assert python[0].classes == tuple(f"class {i}" for i in range(10))
    assert binary[0].classes == tuple(f"class-{i}" for i in range(10))
    assert (len(python[0]), len(python[1])) == (5 * ROWS, ROWS)


def test_pixels_stand_channel_by_channel(binary_folder: Path) -> None:
    record = bytes([3]) + bytes([1] * 1024 + [2] * 1024 + [3] * 1024)
    (binary_folder / "test_batch.bin").write_bytes(record)
    _, test = parts(read_folder(binary_folder, BINARY))
    assert test.labels.tolist() == [3]
    assert test.images[0, :, 5, 5].tolist() == [1, 2, 3]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_any_pickle_protocol_with_text_or_byte_keys_is_read(
    python_folder: Path, protocol: int
) -> None:
    batch = pickle.loads((python_folder / "test_batch").read_bytes())
    for keys in (str, bytes):
        renamed = {key.decode() if keys is str else key: value for key, value in batch.items()}
        (python_folder / "test_batch").write_bytes(pickle.dumps(renamed, protocol))
        _, test = parts(read_folder(python_folder, PYTHON))
        assert np.array_equal(test.images.reshape(ROWS, -1), batch[b"data"])


def test_a_copy_with_fewer_rows_is_used_and_called_unverified(python_folder: Path) -> None:
    data = read_folder(python_folder, PYTHON)
    assert (data.label, data.verified, data.name) == ("unverified copy", False, "cifar10")
    assert data.source == str(python_folder)


def test_files_with_the_official_checksums_are_called_official(python_folder: Path) -> None:
    md5 = {
        name: hashlib.md5((python_folder / name).read_bytes()).hexdigest() for name in PYTHON.names
    }
    official = read_folder(python_folder, replace(PYTHON, md5=md5))
    assert (official.label, official.verified) == ("official copy, verified", True)
    (python_folder / "batches.meta").unlink()
    assert not read_folder(python_folder, replace(PYTHON, md5=md5)).verified


def test_without_a_list_of_names_the_classes_have_their_usual_ones(binary_folder: Path) -> None:
    (binary_folder / "batches.meta.txt").unlink()
    train, _ = parts(read_folder(binary_folder, BINARY))
    assert train.classes[:2] == ("airplane", "automobile")


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_4", "test_batch"])
def test_a_missing_batch_is_refused_by_name(
    python_folder: Path, binary_folder: Path, name: str
) -> None:
    (python_folder / name).unlink()
    (binary_folder / f"{name}.bin").unlink()
    with pytest.raises(DataError, match=f"has no {name}"):
        read_folder(python_folder, PYTHON)
    with pytest.raises(DataError, match=f"has no {name}.bin"):
        read_folder(binary_folder, BINARY)


@pytest.mark.parametrize("length", [1, 3072, 3073 * 3 - 1, 3073 * 6 + 1])
def test_a_binary_batch_of_no_whole_records_is_refused(binary_folder: Path, length: int) -> None:
    path = binary_folder / "data_batch_2.bin"
    path.write_bytes(bytes(length))
    with pytest.raises(DataError, match=r"data_batch_2\.bin has .* multiple of 3,073"):
        read_folder(binary_folder, BINARY)


@pytest.mark.parametrize("label", [10, 128, 255])
def test_a_binary_label_out_of_range_is_refused(binary_folder: Path, label: int) -> None:
    (binary_folder / "data_batch_3.bin").write_bytes(bytes([label]) + bytes(3072))
    with pytest.raises(DataError, match=f"label {label}"):
        read_folder(binary_folder, BINARY)


def test_an_empty_batch_is_refused(python_folder: Path, binary_folder: Path) -> None:
    (binary_folder / "data_batch_5.bin").write_bytes(b"")
    with pytest.raises(DataError, match="holds no images"):
        read_folder(binary_folder, BINARY)
    rewrite(
        python_folder / "data_batch_5",
        lambda batch: batch.update({b"data": np.zeros((0, 3072), np.uint8), b"labels": []}),
    )
    with pytest.raises(DataError, match="holds no images"):
        read_folder(python_folder, PYTHON)


WRONG_BATCHES: dict[str, Callable[[dict[bytes, Any]], object]] = {
    "label too large": lambda batch: batch[b"labels"].__setitem__(0, 10),
    "label negative": lambda batch: batch[b"labels"].__setitem__(3, -1),
    "label enormous": lambda batch: batch[b"labels"].__setitem__(3, 1 << 2000),
    "label a truth": lambda batch: batch[b"labels"].__setitem__(3, True),
    "label a text": lambda batch: batch[b"labels"].__setitem__(3, "7"),
    "label missing": lambda batch: batch[b"labels"].pop(),
    "label too many": lambda batch: batch[b"labels"].append(1),
    "no labels": lambda batch: batch.pop(b"labels"),
    "labels no list": lambda batch: batch.update({b"labels": b"\1" * ROWS}),
    "no data": lambda batch: batch.pop(b"data"),
    "data no array": lambda batch: batch.update({b"data": [[0] * 3072] * ROWS}),
    "row too short": lambda batch: batch.update({b"data": batch[b"data"][:, :3071]}),
    "row too long": lambda batch: batch.update({b"data": np.zeros((ROWS, 3073), np.uint8)}),
    "rows flattened": lambda batch: batch.update({b"data": batch[b"data"].reshape(-1)}),
    "rows folded": lambda batch: batch.update({b"data": batch[b"data"].reshape(ROWS, 3, 1024)}),
    "data of floats": lambda batch: batch.update({b"data": np.zeros((ROWS, 3072))}),
}


@pytest.mark.parametrize("name", WRONG_BATCHES)
def test_an_inconsistent_batch_is_refused_with_its_path(python_folder: Path, name: str) -> None:
    rewrite(python_folder / "data_batch_4", WRONG_BATCHES[name])
    with pytest.raises(DataError, match="data_batch_4") as refused:
        read_folder(python_folder, PYTHON)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    "content", [b"", b"garbage", pickle.dumps([1]), pickle.dumps(None), b"\x80\x04}."]
)
def test_a_batch_that_is_no_dict_of_rows_is_refused(python_folder: Path, content: bytes) -> None:
    (python_folder / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match="data_batch_1"):
        read_folder(python_folder, PYTHON)


@pytest.mark.parametrize("names", [[], ["only", "two"], None, [1] * 10])
def test_a_list_of_names_that_does_not_fit_is_refused(python_folder: Path, names: object) -> None:
    (python_folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))
    with pytest.raises(DataError, match=r"batches\.meta"):
        read_folder(python_folder, PYTHON)


def test_a_batch_that_would_run_code_is_refused_and_runs_nothing(python_folder: Path) -> None:
    canary = python_folder / "canary"

    class Malice:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {canary}",)

    for protocol in (0, 2, 4):
        content = pickle.dumps({b"data": Malice(), b"labels": []}, protocol)
        (python_folder / "data_batch_2").write_bytes(content)
        with pytest.raises(DataError, match=r"data_batch_2 .*system.*nothing was run"):
            read_folder(python_folder, PYTHON)
    assert not canary.exists()


def test_a_file_larger_than_any_batch_is_not_read(binary_folder: Path) -> None:
    with (binary_folder / "test_batch.bin").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # a hole: it takes no space on the disk
    with pytest.raises(DataError, match=r"test_batch\.bin has 67,108,865 bytes"):
        read_folder(binary_folder, BINARY)


def test_a_damaged_batch_is_read_or_refused_and_nothing_else(python_folder: Path) -> None:
    path = python_folder / "data_batch_1"
    content = path.read_bytes()
    choice = random.Random(0)
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(choice.randint(1, 3)):
            at = choice.choice([choice.randrange(200), len(content) - 1 - choice.randrange(300)])
            damaged[at] = choice.randrange(256)
        path.write_bytes(damaged[: choice.choice([len(content), choice.randrange(len(content))])])
        with contextlib.suppress(LaptimeError):
            parts(read_folder(python_folder, PYTHON))


@pytest.mark.parametrize("layout", [PYTHON, BINARY], ids=lambda layout: layout.folder)
def test_an_archive_is_read_like_its_unpacked_folder(
    tmp_path: Path, python_folder: Path, binary_folder: Path, layout: Any
) -> None:
    folder = tmp_path / layout.folder
    archive = tmp_path / layout.archive.name
    (folder / "readme.html").write_text("not asked for")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    packed, unpacked = parts(read_archive(archive)), parts(read_folder(folder, layout))
    for one, other in zip(packed, unpacked, strict=True):
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.labels, other.labels)
        assert one.classes == other.classes
    assert read_archive(archive).label == "unverified copy"


def test_an_archive_without_a_batch_is_refused(tmp_path: Path, binary_folder: Path) -> None:
    (binary_folder / "data_batch_2.bin").unlink()
    archive = tmp_path / "some.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(binary_folder, binary_folder.name)
    with pytest.raises(DataError, match=r"some\.tar\.gz has no data_batch_2\.bin"):
        read_archive(archive)


def test_the_python_2_pickles_of_the_real_data_are_read(real_data: Path) -> None:
    train, test = parts(read_folder(real_data / "cifar-10-batches-py", PYTHON))
    assert (len(train), len(test)) == (5085, 1017)
    assert train.classes[3] == "cat"
    assert train.labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert 100 < train.images.mean() < 140
