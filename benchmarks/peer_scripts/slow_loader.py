"""A plain training whose loader takes most of every step: what does a tool say of it?"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

SAMPLE_S = 0.001


class SlowRows(Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 2400

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        time.sleep(SAMPLE_S)
        return torch.randn(64), index % 4


torch.manual_seed(0)
loader = DataLoader(SlowRows(), batch_size=8)
model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def train(inputs: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()


for epoch in range(2):
    for inputs, labels in loader:
        train(inputs, labels)
    print("epoch", epoch)
