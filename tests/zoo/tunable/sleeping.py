"""A dataset that waits for a network, and a model that takes less: four workers hide all of it."""

import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Remote(Dataset):
    def __init__(self, n):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(n, 12, generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        time.sleep(0.005)
        return self.x[i], (self.x[i].sum() > 0).long()


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x):
        time.sleep(0.014)
        return self.layers(x)


def main(epochs):
    torch.manual_seed(0)
    loader = DataLoader(Remote(800), batch_size=8, shuffle=True)
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for epoch in range(epochs):
        start = time.perf_counter()
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} {time.perf_counter() - start:.4f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
