"""A callback of Hugging Face's Trainer: ``Trainer(..., callbacks=[LaptimeCallback()])``."""

from __future__ import annotations

import importlib
import os
from typing import Any

from laptime.integrations.fit import FitRecord

_TrainerCallback: Any = importlib.import_module("transformers").TrainerCallback


class LaptimeCallback(_TrainerCallback):  # type: ignore[misc]  # known when transformers is there
    """Record every training of a trainer in a run directory, and print where that is.

    Of several processes the first is recorded. A trainer tells nobody of an exception: the record
    of such a training ends with the process, or where the next one begins.
    """

    def __init__(self, runs_dir: str | os.PathLike[str] = "runs") -> None:
        super().__init__()
        self._record = FitRecord(runs_dir)

    def on_train_begin(self, _: Any, state: Any, *__: Any, model: Any = None, **___: Any) -> None:
        """Begin before the first epoch."""
        if state.is_world_process_zero:
            self._record.begin(type(model).__name__)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """End the record after the last epoch."""
        self._record.end()
