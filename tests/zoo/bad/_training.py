"""A small training that the scripts of this folder share."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def train(epochs=2, after_step=None, model=None):
    """Train, call after_step with the number of each step, and return the model."""
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8, shuffle=True)
    model = model or nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = 0
    for epoch in range(epochs):
        for inputs, targets in loader:
            loss = nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if after_step is not None:
                after_step(step)
        print(f"epoch {epoch} loss {loss.item():.6f}", flush=True)
    return model
