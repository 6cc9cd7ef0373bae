"""Updates its weights by hand: there is no optimizer."""

import torch

torch.manual_seed(0)
w = torch.zeros(3, requires_grad=True)
x = torch.randn(30, 3)
y = x @ torch.tensor([1.0, -2.0, 0.5])
for step in range(40):
    loss = ((x @ w - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        w -= 0.1 * w.grad
        w.grad = None
print([round(value, 5) for value in w.tolist()])
