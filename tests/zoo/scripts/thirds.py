"""Model, gradients and logging take a third each: there is no one bottleneck."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import planted


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        planted.cost("forward", 0.006)
        return planted.slow_gradient(self.fc(x), 0.006)


torch.manual_seed(0)
x = torch.randn(360, 8)
loader = DataLoader(TensorDataset(x, x.flip(1)), batch_size=12)
model = Model()
optimizer = torch.optim.Adam(model.parameters())
steps = 0
for epoch in range(2):
    for inputs, targets in loader:
        loss = nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        planted.cost("other", 0.006)
        if steps % 20 == 0:
            print(f"{steps}: {loss.item():.6f}")
planted.tell(steps, 2, "ambiguous", samples=720)
