"""Tests after each epoch, on images that are slow to read."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import planted


class TestImages(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        planted.cost("evaluation", 0.005)
        return self.x[index], self.y[index]


def train(model, device, train_loader, optimizer, epoch):
    model.train()
    for batch_idx, (data, target) in enumerate(train_loader):
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        loss = nn.functional.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()
        if batch_idx % 10 == 0:
            print(f"Train Epoch: {epoch} [{batch_idx}]\tLoss: {loss.item():.6f}")


def test(model, device, test_loader):
    model.eval()
    test_loss = 0
    correct = 0
    with torch.no_grad():
        for data, target in test_loader:
            data, target = data.to(device), target.to(device)
            output = model(data)
            test_loss += nn.functional.nll_loss(output, target, reduction="sum").item()
            correct += output.argmax(dim=1, keepdim=True).eq(target.view(-1, 1)).sum().item()
    n = len(test_loader.dataset)
    print(f"\nTest set: Average loss: {test_loss / n:.4f}, Accuracy: {correct}/{n}\n")


def main():
    torch.manual_seed(1)
    device = torch.device("cpu")
    x = torch.randn(360, 1, 8, 8)
    y = (x.mean((1, 2, 3)) > 0).long()
    train_loader = DataLoader(TensorDataset(x[:300], y[:300]), batch_size=15, shuffle=True)
    test_loader = DataLoader(TestImages(x[300:], y[300:]), batch_size=20)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2), nn.LogSoftmax(1)
    ).to(device)
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for epoch in range(1, 4):
        train(model, device, train_loader, optimizer, epoch)
        test(model, device, test_loader)
        scheduler.step()
    planted.tell(3 * len(train_loader), 3, "evaluation", samples=900)


if __name__ == "__main__":
    main()
