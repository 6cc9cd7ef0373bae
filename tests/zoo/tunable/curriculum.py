"""A dataset that the loop makes harder as it learns: a copy of it in a worker stays easy."""

import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Curriculum(Dataset):
    def __init__(self, n):
        self.x = torch.randn(n, 8, generator=torch.Generator().manual_seed(2))
        self.noise = torch.randn(n, generator=torch.Generator().manual_seed(3))
        self.difficulty = 0.0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        time.sleep(0.004)
        return self.x[i], self.x[i].sum() + self.difficulty * self.noise[i]


torch.manual_seed(0)
dataset = Curriculum(4000)
loader = DataLoader(dataset, batch_size=8, shuffle=True)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
for epoch in range(1000):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        dataset.difficulty = min(8.0, dataset.difficulty + 0.2)
    print(f"epoch {epoch} loss {loss.item():.6f}", flush=True)
