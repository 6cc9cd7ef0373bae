"""Parquet files of the hub's CIFAR-10, and a folder of images for each class."""

from __future__ import annotations

import io
import os
import random
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from laptime.data.dataset import ImageDataset
from laptime.data.folders import find_parquet, has_class_folders, read_class_folders, read_parquet
from laptime.errors import DataError, LaptimeError


def encoded(value: int, size: tuple[int, int] = (32, 32), mode: str = "RGB", **how: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, value if len(mode) == 1 else (value, 0, 0, 9)[: len(mode)]).save(
        file, how.get("format", "PNG")
    )
    return file.getvalue()


def fill(root: Path, *names: str) -> Path:
    """Write one image of another red for each name."""
    for value, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(value))
    return root


def images_of(part: object) -> ImageDataset:
    assert isinstance(part, ImageDataset)
    return part


def write_parquet(path: Path, images: list[bytes | None], labels: list[float | None]) -> None:
    rows = [{"bytes": image, "path": "x.png"} for image in images]
    pq.write_table(pa.table({"img": rows, "label": labels}), path)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [encoded(3)], [3])
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [encoded(1), encoded(2)], [1, 2])
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [encoded(9, format="JPEG")], [9])
    return tmp_path


def test_parquet_files_are_read_in_the_order_of_their_names(hub: Path) -> None:
    data = read_parquet(hub)
    train, test = images_of(data.train), images_of(data.test)
    assert train.images[:, 0, 4, 4].tolist() == train.labels.tolist() == [1, 2, 3]
    assert test.labels.tolist() == [9]
    assert train.classes[9] == "truck"
    assert (data.name, data.label, data.verified) == ("cifar10", "unverified copy", False)


def test_parquet_is_found_in_a_folder_and_in_its_plain_text(hub: Path, tmp_path: Path) -> None:
    assert find_parquet(hub) == hub
    (tmp_path / "parent").mkdir()
    assert find_parquet(tmp_path / "parent") is None
    (tmp_path / "parent" / "plain_text").symlink_to(hub)
    assert find_parquet(tmp_path / "parent") == tmp_path / "parent" / "plain_text"


def test_without_test_files_the_hub_data_is_refused(hub: Path) -> None:
    (hub / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"has no test-\*\.parquet"):
        read_parquet(hub)


def test_without_pyarrow_the_remedy_is_named(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'laptime\[hub\]'"):
        read_parquet(hub)


WRONG_TABLES: dict[str, Callable[[Path], object]] = {
    "empty file": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"PAR1" + b"garbage" * 50 + b"PAR1"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "other columns": lambda path: pq.write_table(pa.table({"x": [1]}), path),
    "no labels": lambda path: pq.write_table(pa.table({"img": [{"bytes": b""}]}), path),
    "img of text": lambda path: pq.write_table(pa.table({"img": ["a"], "label": [1]}), path),
    "label of text": lambda path: pq.write_table(
        pa.table({"img": [{"bytes": encoded(1)}], "label": ["a"]}), path
    ),
    "label missing": lambda path: write_parquet(path, [encoded(1)], [None]),
    "label too large": lambda path: write_parquet(path, [encoded(1)], [10]),
    "label of fractions": lambda path: write_parquet(path, [encoded(1)], [1.5]),
    "label negative": lambda path: write_parquet(path, [encoded(1)], [-1]),
    "too many rows": lambda path: pq.write_table(pa.table({"img": [1] * 200_001}), path),
    "image missing": lambda path: write_parquet(path, [None], [1]),
    "image damaged": lambda path: write_parquet(path, [encoded(1)[:40]], [1]),
    "image large": lambda path: write_parquet(path, [encoded(1, (33, 32))], [1]),
    "no rows": lambda path: write_parquet(path, [encoded(1)][:0], [1][:0]),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_a_parquet_file_of_anything_else_is_refused(hub: Path, name: str) -> None:
    WRONG_TABLES[name](hub / "test-00000-of-00001.parquet")
    with pytest.raises(DataError) as refused:
        read_parquet(hub)
    assert "\n" not in str(refused.value)


def test_the_real_hub_data_is_read(real_data: Path, tmp_path: Path) -> None:
    table = pq.read_table(real_data / "plain_text" / "test-00000-of-00001.parquet")
    for part, start in (("train", 0), ("test", 300)):
        pq.write_table(table.slice(start, 300), tmp_path / f"{part}-0.parquet")
    train = images_of(read_parquet(tmp_path).train)
    assert len(train) == 300
    assert set(train.labels.tolist()) == set(range(10))
    assert 100 < train.images.mean() < 140


def test_classes_and_images_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    fill(tmp_path, "train/b/1.png", "train/a/2.png", "train/a/1.png", "test/b/x.png")
    data = read_class_folders(tmp_path)
    train, test = images_of(data.train), images_of(data.test)
    assert train.classes == ("a", "b")
    assert train.labels.tolist() == [0, 0, 1]
    assert train.images[:, 0, 0, 0].tolist() == [2, 1, 0]
    assert test.labels.tolist() == [1]
    assert (data.name, data.label) == ("folder", "your own")


@pytest.mark.parametrize("name", ["test", "val", "valid"])
def test_the_test_folder_has_three_names(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "train/a/1.png", f"{name}/a/1.png")
    assert len(read_class_folders(tmp_path).test or []) == 1


def test_class_folders_alone_have_no_test_set(tmp_path: Path) -> None:
    fill(tmp_path, "cat/1.png", "dog/1.png", "train/1.png")
    data = read_class_folders(tmp_path)
    assert data.classes == ("cat", "dog", "train")
    assert data.test is None


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "a/.2.png", ".hidden/1.png")
    (tmp_path / "a" / "notes.txt").write_text("mine")
    (tmp_path / "a" / "folder.png").mkdir()
    (tmp_path / "readme.md").write_text("mine")
    assert len(read_class_folders(tmp_path).train) == 1


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_images_of_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    file_format = "JPEG" if mode == "CMYK" else "PNG"
    fill(tmp_path, "a/1.png")
    (tmp_path / "a" / "2.png").write_bytes(encoded(1, mode=mode, format=file_format))
    assert images_of(read_class_folders(tmp_path).train).images.shape == (2, 3, 32, 32)


@pytest.mark.parametrize("size", [(31, 32), (32, 33), (224, 224), (1, 1)])
def test_another_size_is_refused_with_the_file_and_the_remedy(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    fill(tmp_path, "a/1.png")
    (tmp_path / "a" / "large.png").write_bytes(encoded(1, size))
    with pytest.raises(DataError, match=rf"large\.png is {size[0]}x{size[1]}.*file\.py:factory"):
        read_class_folders(tmp_path)


def png_bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


@pytest.mark.parametrize("side", [10_000, 60_000, 2**31 - 1])
def test_an_image_that_unpacks_without_end_is_not_unpacked(tmp_path: Path, side: int) -> None:
    fill(tmp_path, "a/1.png")
    (tmp_path / "a" / "bomb.png").write_bytes(png_bomb(side, side))
    with pytest.raises(DataError, match=r"bomb\.png"):
        read_class_folders(tmp_path)


def test_a_file_too_large_for_a_small_image_is_not_read(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png")
    with (tmp_path / "a" / "huge.png").open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no space on the disk
    with pytest.raises(DataError, match=r"huge\.png has 1,099,511,627,776 bytes"):
        read_class_folders(tmp_path)


@pytest.mark.parametrize("content", [b"", b"garbage", encoded(1)[:50], b"GIF89a" + bytes(50)])
def test_what_is_no_image_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    fill(tmp_path, "a/1.png")
    (tmp_path / "a" / "2.png").write_bytes(content)
    with pytest.raises(DataError, match=r"2\.png is not a readable image"):
        read_class_folders(tmp_path)


def test_a_damaged_image_is_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png")
    choice = random.Random(3)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    refusals: list[str] = []
    for file_format in ("PNG", "JPEG", "BMP", "PPM", "WEBP"):
        file = io.BytesIO()
        noise.save(file, file_format)
        for _ in range(60):
            damaged = bytearray(file.getvalue())
            for _ in range(choice.randint(1, 6)):
                damaged[choice.randrange(min(len(damaged), 400))] = choice.randrange(256)
            kept = choice.choice([len(damaged), choice.randrange(len(damaged))])
            (tmp_path / "a" / "1.png").write_bytes(damaged[:kept])
            try:
                read_class_folders(tmp_path)
            except LaptimeError as error:
                refusals.append(str(error))
    assert all("1.png" in refusal for refusal in refusals)


def test_a_class_without_images_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.png")
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no image"):
        read_class_folders(tmp_path)


def test_a_test_class_that_was_not_trained_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.png", "test/b/1.png")
    with pytest.raises(DataError, match="b is a class that the training set does not have"):
        read_class_folders(tmp_path)


def test_a_test_folder_without_images_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.png")
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="holds no folder with images"):
        read_class_folders(tmp_path)


def test_folders_without_images_are_no_class_folders(tmp_path: Path) -> None:
    assert not has_class_folders(tmp_path)
    (tmp_path / "a").mkdir()
    assert not has_class_folders(tmp_path)
    fill(tmp_path, "a/1.png")
    assert has_class_folders(tmp_path)


def test_links_in_a_circle_and_pipes_do_not_hang(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "self.png").symlink_to(tmp_path / "a" / "self.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    assert len(read_class_folders(tmp_path).train) == 1
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert read_class_folders(tmp_path).classes == ("a",)
