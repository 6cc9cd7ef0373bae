"""Prints the loss of every step on one line that is written over; the model is slow."""

import sys

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import planted


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 4 * 4, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        planted.cost("forward", 0.01)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc(x.flatten(1))


def train(model, loader, optimizer, epoch):
    model.train()
    correct, total = 0, 0
    for batch_idx, (data, target) in enumerate(loader):
        optimizer.zero_grad()
        output = model(data)
        loss = F.cross_entropy(output, target)
        loss.backward()
        optimizer.step()
        correct += (output.argmax(1) == target).sum().item()
        total += len(target)
        sys.stdout.write(
            f"\rTrain Epoch: {epoch} [{batch_idx + 1}/{len(loader)}] "
            f"Loss: {loss.item():.6f} Acc: {100.0 * correct / total:.2f}%"
        )
        sys.stdout.flush()
    print()
    return len(loader)


def main():
    torch.manual_seed(1)
    images = torch.randn(240, 1, 16, 16)
    labels = torch.randint(0, 4, (240,))
    loader = DataLoader(TensorDataset(images, labels), batch_size=8, shuffle=True)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps = 0
    for epoch in range(1, 3):
        steps += train(model, loader, optimizer, epoch)
    planted.tell(steps, 2, "forward", samples=480)


if __name__ == "__main__":
    main()
