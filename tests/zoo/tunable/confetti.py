"""Hundreds of small tensors: an optimizer that takes them one by one takes most of a step."""

import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Confetti(nn.Module):
    def __init__(self, pieces):
        super().__init__()
        self.pieces = nn.ParameterList(nn.Parameter(torch.randn(4) * 0.1) for _ in range(pieces))

    def forward(self, x):
        return x @ torch.stack(list(self.pieces)).mean(dim=0)


def main(epochs):
    torch.manual_seed(0)
    x = torch.randn(1600, 4)
    loader = DataLoader(TensorDataset(x, x.sum(dim=1)), batch_size=16)
    model = Confetti(600)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(epochs):
        start = time.perf_counter()
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} {time.perf_counter() - start:.4f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
