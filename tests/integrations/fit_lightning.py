"""python fit_lightning.py RUNS: fits of Lightning with the callback, one of which fails."""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from laptime.integrations.lightning import LaptimeCallback


class Classifier(lightning.LightningModule):
    def __init__(self, fails_at: int = -1) -> None:
        super().__init__()
        self.net = torch.nn.Linear(4, 1)
        self.fails_at = fails_at

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == self.fails_at:
            raise RuntimeError("no more of this")
        return self.net(batch[0]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.net(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def data(samples: int) -> Any:
    return DataLoader(TensorDataset(torch.randn(samples, 4)), batch_size=5)


def fit(model: Any, folder: str) -> None:
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[LaptimeCallback(sys.argv[1])],
    )
    trainer.fit(model, data(30), data(10))
    trainer.validate(model, data(10), verbose=False)


warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
with tempfile.TemporaryDirectory() as scratch:
    fit(Classifier(), scratch)
    try:
        fit(Classifier(fails_at=3), scratch)
    except RuntimeError as error:
        sys.stdout.write(str(error))
    fit(Classifier(), scratch)
