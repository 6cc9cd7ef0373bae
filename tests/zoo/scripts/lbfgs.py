"""LBFGS with a closure, which calls the model several times a step; the model is slow."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import planted


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(19, 32)
        self.linear = nn.Linear(32, 19)

    def forward(self, x):
        planted.busy("forward", 0.006)
        return self.linear(torch.tanh(self.hidden(x)))


torch.manual_seed(0)
t = torch.arange(0, 20).float() * 0.3
waves = torch.stack([torch.sin(t + phase) for phase in torch.rand(160) * 6])
loader = DataLoader(TensorDataset(waves[:, :-1], waves[:, 1:]), batch_size=8)
model = Sequence()
criterion = nn.MSELoss()
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.8, max_iter=2, line_search_fn="strong_wolfe")

steps = 0
for epoch in range(2):
    print("EPOCH:", epoch)
    for inputs, target in loader:

        def closure():
            optimizer.zero_grad()
            loss = criterion(model(inputs), target)
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        steps += 1
    print("loss:", loss.item())
planted.tell(steps, 2, "forward", samples=320)
