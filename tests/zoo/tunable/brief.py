"""Short epochs of samples from a network: workers, and workers that stay."""

import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Remote(Dataset):
    def __init__(self, n):
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(n, 6, generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        time.sleep(0.008)
        return self.x[i], self.x[i].mean()


def main(epochs):
    torch.manual_seed(0)
    loader = DataLoader(Remote(120), batch_size=4)
    model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 1), nn.Flatten(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for epoch in range(epochs):
        start = time.perf_counter()
        for x, y in loader:
            optimizer.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimizer.step()
            time.sleep(0.002)
        print(f"epoch {epoch} {time.perf_counter() - start:.4f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
