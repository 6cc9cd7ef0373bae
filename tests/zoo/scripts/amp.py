"""Mixed precision with a scaler whose first steps are skipped; gradients are slow."""

import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import planted

device = "cuda" if torch.cuda.is_available() else "cpu"


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, width)

    def forward(self, x):
        x = x + torch.relu(self.fc(self.norm(x)))
        return planted.slow_gradient(x, 0.008)


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 32), Block(32), Block(32), nn.Linear(32, 1)).to(device)
data = TensorDataset(torch.randn(480, 10), torch.randn(480, 1))
loader = DataLoader(data, batch_size=16, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scaler = torch.amp.GradScaler(device, init_scale=2.0**127)

steps = 0
for epoch in range(2):
    for x, y in loader:
        x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device_type=device, dtype=torch.bfloat16):
            prediction = model(x)
            loss = nn.functional.mse_loss(prediction.float(), y, reduction="sum")
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        steps += 1
    print(f"epoch {epoch}: loss {loss.item():.6f} scale 2**{math.log2(scaler.get_scale()):.0f}")
planted.tell(steps, 2, "backward", samples=2 * len(data))
