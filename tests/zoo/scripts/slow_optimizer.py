"""An optimizer written for a paper, and slow as such."""

import torch
from torch import nn
from torch.optim.optimizer import Optimizer
from torch.utils.data import DataLoader, TensorDataset

import planted


class Muddle(Optimizer):
    """Momentum on the sign of the gradient."""

    def __init__(self, params, lr=1e-3, beta=0.9):
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                planted.cost("optimizer", 0.003)
                state["momentum"].lerp_(p.grad, 1 - group["beta"])
                p.add_(state["momentum"].sign(), alpha=-group["lr"])
        return loss


torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 1))
opt = Muddle(net.parameters(), lr=1e-3)
xs = torch.randn(450, 3)
ys = (xs[:, :1] * xs[:, 1:2]).sin()
loader = DataLoader(TensorDataset(xs, ys), batch_size=15, shuffle=True)

count = 0
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        loss = (net(x) - y).abs().mean()
        loss.backward()
        opt.step()
        count += 1
    print("epoch %d loss %.6f" % (epoch, loss))
planted.tell(count, 2, "optimizer", samples=900)
