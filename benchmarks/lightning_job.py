"""Train laptime's model on laptime's data with PyTorch Lightning's Trainer and its own profiler.

``python benchmarks/lightning_job.py OUT.json [--samples N] [--epochs N] [--workers N]`` writes the
seconds of each epoch by a clock around it, the wall time of ``fit``, and the profiler's table. The
environment needs lightning (constraints-frameworks.txt).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import SimpleProfiler
from torch import Tensor, nn
from torch.utils.data import DataLoader

from laptime.data.dataset import ImageDataset
from laptime.data.loaders import SampleImages
from laptime.data.synthetic import CLASSES, synthetic_images
from laptime.models.resnet import ResNet18
from laptime.timing.clock import read_ns


class Samples(torch.utils.data.Dataset[Any]):
    """The per-sample pipeline of ``--loader sample``, with plain indices."""

    def __init__(self, num_samples: int) -> None:
        images, labels = synthetic_images(num_samples, first=0)
        self._images = SampleImages(ImageDataset(images, labels, CLASSES), 0, augment=True)
        self._length = num_samples

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._images[1, index]


class Network(LightningModule):
    """ResNet-18, the lab's optimizer, and the logging that Lightning's examples show."""

    def __init__(self) -> None:
        super().__init__()
        self.model = ResNet18(10, 64, "batch")

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:  # noqa: ARG002
        inputs, labels = batch
        logits = self.model(inputs)
        loss = nn.functional.cross_entropy(logits, labels)
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log_dict({"loss": loss, "accuracy": accuracy}, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)


class Stopwatch(Callback):
    """A clock around every epoch."""

    def __init__(self) -> None:
        self.epoch_s: list[float] = []
        self._start_ns = 0

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:  # noqa: ARG002
        self._start_ns = read_ns()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:  # noqa: ARG002
        self.epoch_s.append((read_ns() - self._start_ns) / 1e9)


def main() -> None:
    parser = argparse.ArgumentParser(description="Lightning on the lab's job.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=640)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    torch.manual_seed(0)
    loader = DataLoader(
        Samples(given.samples), batch_size=128, shuffle=True, num_workers=given.workers
    )
    profiler, watch = SimpleProfiler(), Stopwatch()
    trainer = Trainer(
        max_epochs=given.epochs, accelerator="cpu", profiler=profiler, callbacks=[watch],
        logger=False, enable_checkpointing=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    start_ns = read_ns()
    trainer.fit(Network(), loader)
    wall_s = (read_ns() - start_ns) / 1e9
    table = {name: sum(spent) for name, spent in profiler.recorded_durations.items()}
    given.out.write_text(
        json.dumps({"epoch_s": watch.epoch_s, "fit_s": wall_s, "table_s": table}, indent=1)
    )


if __name__ == "__main__":
    main()
