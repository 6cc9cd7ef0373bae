"""What the two scripts share whose loader is tuned: model, step, options, clock."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

BATCH_SIZE, BATCHES = 32, 100


class Rows(Dataset[tuple[Tensor, int]]):
    """Random rows, each at the price of ``spend``."""

    def __len__(self) -> int:
        return BATCH_SIZE * BATCHES

    def spend(self) -> None:
        """Take the time of a row."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.spend()
        return torch.full((1024,), index / len(self)), index % 10


def build_model() -> nn.Module:
    layers: list[nn.Module]
    layers = [layer for _ in range(4) for layer in (nn.Linear(1024, 1024), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(1024, 10))


def build_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any, device: Any
) -> Tensor:
    inputs, labels = (part.to(device) for part in batch)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
    return loss


def workload(name: str, dataset_class: type[Rows]) -> Any:
    """Return what loadtune asks for."""
    from loadtune import Workload

    return Workload(
        name=name,
        make_dataset=dataset_class,
        make_model=build_model,
        train_step=train_step,
        make_optimizer=build_optimizer,
        default_batch_size=BATCH_SIZE,
    )


def main(dataset_class: type[Rows]) -> None:
    """Train some epochs and print what each of them took, the start of its workers included."""
    options = argparse.ArgumentParser()
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--num-workers", type=int, default=0)
    options.add_argument("--prefetch-factor", type=int)
    options.add_argument("--persistent-workers", action="store_true")
    options.add_argument("--pin-memory", action="store_true")
    options.add_argument("--threads", type=int)
    given = options.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    loader = DataLoader(
        dataset_class(),
        batch_size=BATCH_SIZE,
        shuffle=True,
        drop_last=True,
        num_workers=given.num_workers,
        prefetch_factor=given.prefetch_factor,
        persistent_workers=given.persistent_workers,
        pin_memory=given.pin_memory,
    )
    model = build_model()
    optimizer = build_optimizer(model)
    epoch_s = []
    for _ in range(given.epochs):
        start = time.perf_counter()
        for batch in loader:
            train_step(model, optimizer, batch, "cpu")
        epoch_s.append(time.perf_counter() - start)
    print(json.dumps({"epoch_s": epoch_s, "batches": len(loader)}))
