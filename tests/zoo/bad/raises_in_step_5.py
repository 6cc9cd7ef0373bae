"""Ends in the model's forward of the fifth step."""

import _training
import torch
from torch import nn


class Fragile(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 5:
            raise ValueError("the fifth batch is bad")
        return self.linear(x)


_training.train(model=torch.nn.Sequential(Fragile()))
