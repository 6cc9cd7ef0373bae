"""The exported script imports nothing of laptime and gives the same losses, bit by bit."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from laptime.data.catalog import build_data
from laptime.errors import SettingsError
from laptime.settings import RunSettings, build_settings
from laptime.store import RunDirectory
from laptime.training.loop import train
from laptime.training.plain import render_plain_script


def losses_of_script(settings: RunSettings, folder: Path) -> list[tuple[int, int, str, int, int]]:
    script = folder / "plain.py"
    script.write_text(
        render_plain_script(settings, build_data(settings.data), script.name)
        + "\n\ntorch.set_num_threads(1)\n"
    )
    text = script.read_text().replace(
        "def main() -> None:", "def main() -> None:\n    torch.set_num_threads(1)"
    )
    script.write_text(text)
    assert "laptime" not in "".join(
        line for line in text.splitlines() if line.startswith(("import", "from"))
    )
    subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    with (folder / "steps.csv").open() as file:
        return [
            (int(r["epoch"]), int(r["step"]), r["loss"], int(r["correct"]), int(r["samples"]))
            for r in csv.DictReader(file)
        ]


def losses_of_laptime(settings: RunSettings, folder: Path) -> list[tuple[int, int, str, int, int]]:
    record = train(settings, folder / "runs")
    rows = RunDirectory(Path(record.directory)).read_steps()
    return [(r.epoch, r.step, repr(r.loss), r.correct, r.samples) for r in rows]


@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": "sgd", "num_workers": 1},
        {"optimizer": "adam", "norm": "none", "seed": 5},
        pytest.param({"optimizer": "nesterov"}, marks=pytest.mark.slow),
        pytest.param({"optimizer": "adagrad"}, marks=pytest.mark.slow),
        pytest.param({"optimizer": "adadelta", "width": 2}, marks=pytest.mark.slow),
        pytest.param({"optimizer": "adamw", "lr": 0.001}, marks=pytest.mark.slow),
    ],
)
def test_losses_are_the_same_bits_for_every_optimizer(
    tiny: Any, tmp_path: Path, given: dict[str, Any]
) -> None:
    settings = tiny(**{"lr": 0.01, **given})

    assert losses_of_script(settings, tmp_path) == losses_of_laptime(settings, tmp_path)


def write_class_folders(root: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / "train" / name).mkdir(parents=True)
        for i in range(20):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / name / f"{i}.png")
    return root


def test_losses_are_the_same_bits_on_class_folders(tiny: Any, tmp_path: Path) -> None:
    settings = tiny(data=str(write_class_folders(tmp_path / "images")), samples=33)

    assert losses_of_script(settings, tmp_path) == losses_of_laptime(settings, tmp_path)


@pytest.mark.parametrize(
    "part", ["cifar-10-batches-py", pytest.param("plain_text", marks=pytest.mark.slow)]
)
def test_losses_are_the_same_bits_on_real_images(
    tiny: Any, tmp_path: Path, real_data: Path, part: str
) -> None:
    settings = tiny(data=str(real_data / part), epochs=1)

    assert losses_of_script(settings, tmp_path) == losses_of_laptime(settings, tmp_path)


def write_binary(folder: Path) -> None:
    generator = np.random.default_rng(0)
    folder.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        rows = generator.integers(0, 256, (20, 3073), dtype=np.uint8)
        rows[:, 0] %= 10
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n\n")


@pytest.mark.parametrize("packed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_losses_are_the_same_bits_on_the_binary_version(
    tiny: Any, tmp_path: Path, packed: bool
) -> None:
    import tarfile

    folder = tmp_path / "cifar-10-batches-bin"
    write_binary(folder)
    source = folder
    if packed:
        source = tmp_path / "cifar-10-binary.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(folder, folder.name)
    settings = tiny(data=str(source))

    assert losses_of_script(settings, tmp_path) == losses_of_laptime(settings, tmp_path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"precision": "bf16"}, "precision is 'bf16', but the plain script has only 'float32'"),
        ({"compile": True}, "compile is True"),
        ({"model": "os:getcwd"}, "Use resnet18"),
    ],
)
def test_what_the_plain_script_does_not_have_is_refused(
    tiny: Any, given: dict[str, Any], expected: str
) -> None:
    settings = tiny(**given)

    with pytest.raises(SettingsError, match=expected):
        render_plain_script(settings, build_data(settings.data), "x.py")


@pytest.mark.parametrize("data", ["synthetic", "folder"])
def test_every_name_in_the_script_is_defined_in_it(data: str, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(2):
            Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / f"{number}.png")
    given = {"data": "synthetic" if data == "synthetic" else str(tmp_path / "images")}
    settings = build_settings({**given, "samples": None, "batch_size": 2})
    script = tmp_path / "plain.py"
    script.write_text(render_plain_script(settings, build_data(settings.data), script.name))

    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", str(script)]
    done = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
