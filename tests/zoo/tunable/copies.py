"""A stream that its workers do not share out: two of them give every sample twice."""

import time

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Stream(IterableDataset):
    def __init__(self, n):
        self.x = torch.randn(n, 8, generator=torch.Generator().manual_seed(2))

    def __iter__(self):
        for x in self.x:
            time.sleep(0.004)
            yield x, x.sum()


torch.manual_seed(0)
loader = DataLoader(Stream(160), batch_size=8)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
for epoch in range(10_000):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        time.sleep(0.004)
    print(f"epoch {epoch} loss {loss.item():.6f}", flush=True)
