"""A callback of Lightning that records a fit: ``Trainer(callbacks=[LaptimeCallback()])``."""

from __future__ import annotations

import importlib
import os
from typing import Any

from laptime.integrations.fit import FitRecord


def _callback_class() -> Any:
    """Return the class that callbacks are made of, under the newer or the older name."""
    try:
        return importlib.import_module("lightning.pytorch").Callback
    except ModuleNotFoundError:
        return importlib.import_module("pytorch_lightning").Callback


class LaptimeCallback(_callback_class()):  # type: ignore[misc]  # known when Lightning is there
    """Record every fit of a trainer in a run directory, and print where that is.

    It begins before optimizers are made, so that their lines are known. Of several processes the
    first is recorded.
    """

    def __init__(self, runs_dir: str | os.PathLike[str] = "runs") -> None:
        super().__init__()
        self._record = FitRecord(runs_dir)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Begin before a fit."""
        if stage == "fit" and trainer.is_global_zero:
            self._record.begin(type(pl_module).__name__)

    def on_fit_end(self, *_: Any) -> None:
        """End the record after the last epoch."""
        self._record.end()

    def on_exception(self, *told: Any) -> None:
        """End the record where the training was ended."""
        self._record.end(told[-1])

    def teardown(self, *_: Any, **__: Any) -> None:
        """End the record where nothing else did."""
        self._record.end()
