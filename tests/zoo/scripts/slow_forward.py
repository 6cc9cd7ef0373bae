"""Bound by compute: the model multiplies matrices, as large ones do."""

import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import planted

torch.manual_seed(0)


class Mixer(nn.Module):
    """Applies one matrix again and again, until it has taken its time."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("matrix", torch.randn(width, width) / width)
        self.linear = nn.Linear(width, 10)

    def forward(self, x):
        if planted.SCALE:
            with planted.planted("forward"), torch.no_grad():
                until = time.perf_counter() + 0.01 * planted.SCALE
                power = self.matrix
                while time.perf_counter() < until:
                    power = power @ self.matrix
        return self.linear(x)


model = Mixer(128)
data = TensorDataset(torch.randn(600, 128), torch.randint(0, 10, (600,)))
loader = DataLoader(data, batch_size=20, shuffle=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
start = time.time()
steps = 0
for epoch in range(2):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        steps += 1
    print("epoch", epoch, "loss", round(loss.item(), 6))
print("done" if time.time() > start else "the clock stands still")
planted.tell(steps, 2, "forward", samples=1200)
