"""An encoder and a head, each with an optimizer of its own; the head is slow."""

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

import planted


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 24))

    def forward(self, x):
        return self.layers(x)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(24, 5)

    def forward(self, h):
        planted.busy("forward", 0.01)
        return self.out(h)


torch.manual_seed(7)
features = torch.randn(500, 12)
targets = features[:, :5].argmax(1)
loader = DataLoader(TensorDataset(features, targets), batch_size=25, shuffle=True)

encoder, head = Encoder(), Head()
encoder_optimizer = optim.Adam(encoder.parameters(), lr=1e-3)
head_optimizer = optim.SGD(head.parameters(), lr=5e-2, momentum=0.9)
criterion = nn.CrossEntropyLoss()

n_steps = 0
for epoch in range(3):
    encoder.train()
    head.train()
    losses = []
    for x, y in loader:
        encoder_optimizer.zero_grad()
        head_optimizer.zero_grad()
        loss = criterion(head(encoder(x)), y)
        loss.backward()
        encoder_optimizer.step()
        head_optimizer.step()
        losses.append(loss.detach())
        n_steps += 1
    print(f"[{epoch + 1}/3] loss {torch.stack(losses).mean():.6f}")
planted.tell(n_steps, 3, "forward", 1500, torch.stack(losses).mean().item())
