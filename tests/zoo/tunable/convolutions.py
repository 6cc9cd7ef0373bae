"""Convolutions and pooling in the memory format that torch starts with."""

import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def block(channels):
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=1, padding=1),
    )


def main(epochs):
    torch.manual_seed(0)
    images, labels = torch.randn(512, 3, 32, 32), torch.randint(0, 4, (512,))
    loader = DataLoader(TensorDataset(images, labels), batch_size=16)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        *(block(32) for _ in range(4)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 4),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for epoch in range(epochs):
        start = time.perf_counter()
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} {time.perf_counter() - start:.4f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
