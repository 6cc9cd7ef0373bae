"""Validates every ten steps, in the middle of an epoch; the metric is slow."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import planted


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 32), nn.SiLU(), nn.Dropout(0.1), nn.Linear(32, 1))

    def forward(self, x):
        return self.body(x).squeeze(-1)


@torch.no_grad()
def validate(model, loader):
    model.eval()
    errors = []
    for x, y in loader:
        errors.append((model(x) - y).abs())
        planted.cost("evaluation", 0.03)
    model.train()
    return torch.cat(errors).mean().item()


torch.manual_seed(5)
x = torch.randn(700, 6)
dataset = TensorDataset(x, x.pow(2).sum(1).sqrt())
train_set, val_set = random_split(dataset, [600, 100])
train_loader = DataLoader(train_set, batch_size=20, shuffle=True, drop_last=True)
val_loader = DataLoader(val_set, batch_size=25)

model = Regressor()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
best, global_step = float("inf"), 0
for epoch in range(2):
    for x, y in train_loader:
        loss = nn.functional.l1_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        global_step += 1
        if global_step % 10 == 0:
            val = validate(model, val_loader)
            marker = " *" if val < best else ""
            best = min(best, val)
            print(f"step {global_step}: train {loss.item():.5f} val {val:.5f}{marker}")
planted.tell(global_step, 2, "evaluation", samples=1200)
