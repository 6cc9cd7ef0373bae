"""From what --data says to data: names, paths that are recognised, and the user's factories."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from laptime.data.catalog import build_data
from laptime.data.dataset import Data, ImageDataset
from laptime.errors import DataError
from laptime.settings import DataSettings

OWN = """
class Own:
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index, index % 2


def pair():
    return Own(10), Own(4)


def alone():
    return Own(10)


def without_test():
    return Own(10), None
"""


def build(data: object = "auto", **given: Any) -> Data:
    return build_data(DataSettings(data=str(data), **given))


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "empty place"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.delenv("LAPTIME_DATA", raising=False)
    monkeypatch.setattr(sys, "path", sys.path.copy())


def test_auto_takes_cifar10_where_it_lies_and_else_the_embedded_set(
    python_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build().name == "synthetic"
    assert build(data_dir=str(tmp_path)).source == str(python_folder)
    monkeypatch.setenv("LAPTIME_DATA", str(tmp_path))
    assert build().source == str(python_folder)
    monkeypatch.delenv("LAPTIME_DATA")
    shutil.copytree(python_folder, Path("data") / python_folder.name)
    assert build().source == "data/cifar-10-batches-py"


def test_the_data_directory_goes_before_the_environment(
    python_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAPTIME_DATA", str(tmp_path))
    (tmp_path / "none").mkdir()
    assert build(data_dir=str(tmp_path / "none")).name == "synthetic"


def test_auto_does_not_hide_damage(python_folder: Path, tmp_path: Path) -> None:
    (python_folder / "data_batch_3").unlink()
    with pytest.raises(DataError, match="has no data_batch_3"):
        build(data_dir=str(tmp_path))


def test_cifar10_that_is_not_there_is_refused_with_the_command_that_gets_it() -> None:
    with pytest.raises(DataError, match="laptime data cifar10 --data-dir data"):
        build("cifar10")
    with pytest.raises(DataError, match="laptime data cifar10 --data-dir nowhere"):
        build("cifar10", data_dir="nowhere")


def test_an_unpacked_copy_is_recognised_itself_and_in_its_parent(
    python_folder: Path, binary_folder: Path, tmp_path: Path
) -> None:
    for folder in (python_folder, binary_folder):
        assert build(folder).source == str(folder)
        renamed = folder.rename(tmp_path / "renamed")
        assert build(renamed).source == str(renamed)
        renamed.rename(folder)
    shutil.rmtree(python_folder)
    assert build(tmp_path).source == str(binary_folder)


def test_an_archive_is_recognised_itself_and_in_its_folder(
    binary_folder: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(binary_folder, binary_folder.name)
    unpacked = build(binary_folder)
    shutil.rmtree(binary_folder)
    assert build(tmp_path).source == build(archive).source == str(archive)
    assert build(archive).sha256 == unpacked.sha256
    assert build(archive.rename(tmp_path / "mine.tgz")).sha256 == unpacked.sha256


def test_both_real_layouts_are_recognised(real_data: Path) -> None:
    assert build(real_data, samples=10).source == str(real_data / "cifar-10-batches-py")


def test_class_folders_are_recognised(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/1.png", "val/cat/1.png"):
        (tmp_path / "own" / name).parent.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "own" / name)
    data = build(tmp_path / "own")
    assert (data.name, data.classes, len(data.test or [])) == ("folder", ("cat", "dog"), 1)


@pytest.mark.parametrize(
    "given",
    ["nowhere", "synthetik", "/no/such/path", "x" * 4000, "~nobody-here/x", "a\0b", "C:/data", ":"],
)
def test_what_is_neither_a_name_nor_a_path_is_refused(given: str) -> None:
    with pytest.raises(DataError) as refused:
        build(given)
    assert str(refused.value).isprintable()


def test_a_path_without_anything_known_is_refused_with_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "mine.py").write_text(OWN)
    for path in (Path(), tmp_path / "notes.txt"):
        with pytest.raises(DataError, match=r"nothing known was found.*cifar-10-batches-py"):
            build(path)
    with pytest.raises(DataError, match=r"mine\.py:factory"):
        build(tmp_path / "mine.py")


def test_the_checksum_is_over_images_and_labels_in_use(python_folder: Path) -> None:
    data = build(python_folder)
    assert isinstance(data.train, ImageDataset)
    assert isinstance(data.test, ImageDataset)
    parts = (data.train.images, data.train.labels, data.test.images, data.test.labels)
    assert data.sha256 == hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
    assert build(python_folder, samples=10).sha256 != data.sha256


def test_samples_keeps_evenly_spaced_ones_and_the_whole_test_set(python_folder: Path) -> None:
    whole, some = build(python_folder), build(python_folder, samples=5)
    assert isinstance(whole.train, ImageDataset)
    assert isinstance(some.train, ImageDataset)
    assert np.array_equal(some.train.images, whole.train.images[::7])
    assert some.record().train_samples == 5
    assert some.record().test_samples == 7


def test_more_samples_than_there_are_is_refused(python_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(DataError, match=r"samples is 36, .*has 35\. Use --samples 35 or fewer"):
        build(python_folder, samples=36)
    with pytest.raises(DataError, match=r"samples is 50,001, .*Use --samples 50000 or fewer"):
        build("synthetic", samples=50_001)
    with pytest.raises(DataError, match=r"samples is 11, .*Use --samples 10 or fewer"):
        build(f"{tmp_path}/own.py:pair", samples=11)


def test_what_is_held_out_takes_the_place_of_the_test_set(python_folder: Path) -> None:
    whole, split = build(python_folder), build(python_folder, holdout=0.2)
    assert isinstance(whole.train, ImageDataset)
    assert isinstance(split.train, ImageDataset)
    assert isinstance(split.test, ImageDataset)
    assert (split.record().train_samples, split.record().test_samples) == (28, 7)
    parts = [image.tobytes() for part in (split.train, split.test) for image in part.images]
    assert sorted(parts) == sorted(image.tobytes() for image in whole.train.images)
    assert split.sha256 != whole.sha256


def test_the_same_samples_are_held_out_every_time_and_of_those_asked_for(
    python_folder: Path,
) -> None:
    assert build(python_folder, holdout=0.2).sha256 == build(python_folder, holdout=0.2).sha256
    some = build(python_folder, holdout=0.5, samples=10)
    assert (some.record().train_samples, some.record().test_samples) == (5, 5)
    synthetic = build("synthetic", holdout=0.1, samples=500)
    assert isinstance(synthetic.test, ImageDataset)
    assert set(synthetic.test.labels.tolist()) == set(range(10))


def test_a_part_of_the_users_own_dataset_can_be_held_out(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    data = build(f"{tmp_path}/own.py:pair", holdout=0.3)
    assert data.test is not None
    parts = [[part[i][0] for i in range(len(part))] for part in (data.train, data.test)]
    assert (len(parts[0]), len(parts[1])) == (7, 3)
    assert sorted(parts[0] + parts[1]) == list(range(10))


def test_a_split_that_leaves_one_part_empty_is_refused(python_folder: Path) -> None:
    for given in ({"holdout": 0.001}, {"holdout": 0.99}, {"holdout": 0.5, "samples": 1}):
        with pytest.raises(DataError, match=r"holdout is 0\.\d+, which leaves .* empty"):
            build(python_folder, **given)


def test_a_factory_returns_a_dataset_or_a_pair(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    for name, num_test in (("pair", 4), ("alone", 0), ("without_test", 0)):
        data = build(f"{tmp_path}/own.py:{name}")
        record = data.record()
        assert (record.train_samples, record.test_samples) == (10, num_test)
        assert (record.name, record.label, record.sha256) == (f"own.py:{name}", "your own", None)
        assert (record.verified, record.num_classes) == (False, None)


def test_samples_takes_a_part_of_the_users_own_dataset(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    data = build(f"{tmp_path}/own.py:pair", samples=4)
    assert [data.train[i][0] for i in range(len(data.train))] == [0, 2, 5, 7]
    assert len(data.test or []) == 4


WRONG_MADE = {
    "None": "whose training set is of type NoneType",
    "42": "type int",
    "'text'": "type str",
    "{}": "type dict",
    "(x for x in ())": "type generator",
    "(42, [1])": "training set is of type int",
    "([1], 42)": "test set is of type int",
    "[]": "training set .* is empty",
    "([1], [])": "test set .* is empty",
    "(1, 2, 3)": "",
    "type('IterableDataset', (list,), {})([1])": "IterableDataset",
    "type('Bad', (), {'__getitem__': 1, '__len__': lambda self: 1 / 0})()": "ZeroDivisionError",
    "type('Bad', (), {'__getitem__': 1, '__len__': lambda self: -1})()": "ValueError",
}


@pytest.mark.parametrize("made", [made for made in WRONG_MADE if WRONG_MADE[made]])
def test_a_factory_that_returns_anything_else_is_refused(tmp_path: Path, made: str) -> None:
    (tmp_path / "wrong.py").write_text(f"def factory():\n    return {made}\n")
    with pytest.raises(DataError, match=WRONG_MADE[made]) as refused:
        build(f"{tmp_path}/wrong.py:factory")
    assert "\n" not in str(refused.value)


def test_the_catalog_does_not_import_torch() -> None:
    code = "import sys, laptime.data.catalog; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
