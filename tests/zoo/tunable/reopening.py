"""Short epochs, and workers that open an archive whenever they start."""

import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def open_archive(worker_id):
    time.sleep(0.25)


def main(epochs):
    torch.manual_seed(0)
    x = torch.randn(240, 8)
    loader = DataLoader(
        TensorDataset(x, x.sum(dim=1, keepdim=True)),
        batch_size=8,
        num_workers=2,
        worker_init_fn=open_archive,
    )
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for epoch in range(epochs):
        start = time.perf_counter()
        for inputs, targets in loader:
            time.sleep(0.01)
            loss = nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} {time.perf_counter() - start:.4f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
