"""python train_transformers.py RUNS: trainings of Hugging Face's Trainer, one of which fails."""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments

from laptime.integrations.transformers import LaptimeCallback


class Tiny(PreTrainedModel):
    config_class = PretrainedConfig

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__(PretrainedConfig())
        self.net = torch.nn.Linear(4, 2)
        self.calls, self.fails_at = 0, fails_at
        self.post_init()

    def forward(self, x: Any, labels: Any = None) -> Any:
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("no more of this")
        logits = self.net(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


class Rows(Dataset):
    def __init__(self, n: int) -> None:
        self.x = torch.randn(n, 4)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        return {"x": self.x[i], "labels": int(self.x[i, 0] > 0)}


def train(model: Any, folder: str) -> None:
    arguments = TrainingArguments(
        output_dir=folder,
        num_train_epochs=2,
        per_device_train_batch_size=5,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Rows(30),
        eval_dataset=Rows(10),
        callbacks=[LaptimeCallback(sys.argv[1])],
    )
    trainer.train()
    trainer.evaluate()


with tempfile.TemporaryDirectory() as scratch:
    train(Tiny(), scratch)
    try:
        train(Tiny(fails_at=4), scratch)
    except RuntimeError as error:
        sys.stdout.write(str(error))
    train(Tiny(), scratch)
