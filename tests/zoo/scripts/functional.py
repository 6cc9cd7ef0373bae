"""No module at all: weights are tensors, the model is a function; gradients are slow."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import planted

torch.manual_seed(3)
x = torch.rand(400, 8) * 4 - 2
y = torch.sin(x.sum(1, keepdim=True))

w1 = (torch.randn(32, 8) / 8**0.5).requires_grad_()
b1 = torch.zeros(32, requires_grad=True)
w2 = (torch.randn(1, 32) / 32**0.5).requires_grad_()
b2 = torch.zeros(1, requires_grad=True)
params = [w1, b1, w2, b2]


def net(x):
    h = torch.tanh(F.linear(x, w1, b1))
    h = planted.slow_gradient(h, 0.01)
    return F.linear(h, w2, b2)


opt = torch.optim.Adam(params, lr=1e-2)
train_dl = DataLoader(TensorDataset(x, y), batch_size=20, shuffle=True)
steps = 0
for epoch in range(3):
    for xb, yb in train_dl:
        loss = F.mse_loss(net(xb), yb)
        loss.backward()
        opt.step()
        opt.zero_grad()
        steps += 1
    with torch.no_grad():
        print(epoch, F.mse_loss(net(x), y).item())
planted.tell(steps, 3, "backward", samples=3 * len(x))
