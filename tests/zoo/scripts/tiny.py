"""Three steps to see whether it runs: too few to say anything about."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import planted


class Rows(Dataset):
    def __init__(self):
        self.served = 0

    def __len__(self):
        return 12

    def __getitem__(self, i):
        planted.loading(self.served, 4, 0.001)
        self.served += 1
        return torch.full((3,), float(i)), torch.tensor([1.0])


torch.manual_seed(0)
model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
for x, y in DataLoader(Rows(), batch_size=4):
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("loss", loss.item())
planted.tell(3, 1, "ambiguous", samples=12)
