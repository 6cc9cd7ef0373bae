"""Finds nothing to do, and says so."""

import torch
from torch.utils.data import DataLoader, TensorDataset

model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for (batch,) in DataLoader(TensorDataset(torch.ones(4, 3)), batch_size=2):
    print("would train on", tuple(batch.shape))
print("dry run: nothing was trained")
