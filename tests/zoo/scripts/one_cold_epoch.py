"""One epoch, whose first batch fills a cache: nobody can say whether that comes again."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import planted


class Cached(Dataset):
    def __init__(self, n):
        self.n = n
        self.cache = None

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if self.cache is None:
            planted.cost("loader_start", 0.5)
            self.cache = torch.randn(self.n, 10, generator=torch.Generator().manual_seed(0))
        return self.cache[i], self.cache[i, :1]


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
steps = 0
for x, y in DataLoader(Cached(160), batch_size=8, shuffle=True):
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    steps += 1
print(f"loss after {steps} steps: {loss.item():.6f}")
planted.tell(steps, 1, "ambiguous", samples=160)
