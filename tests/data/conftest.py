"""Tiny made-up copies of CIFAR-10 in its two layouts."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

ROWS = 7


@pytest.fixture
def python_folder(tmp_path: Path) -> Path:
    """A CIFAR-10 of a few random images a batch, in the Python version's layout."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        random = np.random.default_rng(seed)
        batch = {
            b"batch_label": name.encode(),
            b"labels": random.integers(0, 10, ROWS).tolist(),
            b"data": random.integers(0, 256, (ROWS, 3072), np.uint8),
            b"filenames": [b"%d.png" % i for i in range(ROWS)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=4))
    names = [b"class %d" % i for i in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, protocol=2))
    return folder


@pytest.fixture
def binary_folder(tmp_path: Path) -> Path:
    """The same images in the binary version's layout."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        random = np.random.default_rng(seed)
        labels = random.integers(0, 10, ROWS).astype(np.uint8)
        images = random.integers(0, 256, (ROWS, 3072), np.uint8)
        records = np.concatenate([labels[:, None], images], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(f"class-{i}" for i in range(10)) + "\n\n")
    return folder
