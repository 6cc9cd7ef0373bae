"""Fixtures that many tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from laptime.settings import RunSettings, build_settings

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny tensors run faster on one thread, and tests beside each other do not fight."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _signals_arrive() -> None:
    """A shell ignores these for its jobs in the background, and for all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture
def tiny() -> Any:
    """Return settings of a training that takes a fraction of a second."""

    def build(**given: Any) -> RunSettings:
        values = {
            "width": 1,
            "samples": 72,
            "batch_size": 16,
            "epochs": 2,
            "num_workers": 0,
            "data": "synthetic",
            "device": "cpu",
        }
        return build_settings({**values, **given})

    return build


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real CIFAR-10 images, or skip."""
    path = Path(os.environ.get("LAPTIME_TEST_DATA", ROOT.parent / "shared" / "data" / "cifar10"))
    if not path.is_dir():
        pytest.skip(f"no real CIFAR-10 images in {path}; name a copy in LAPTIME_TEST_DATA")
    return path
