"""Workers that are spawned, as on macOS and Windows: each imports everything anew."""

import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import planted


class Frames(Dataset):
    def __init__(self, n):
        self.frames = torch.arange(n * 4.0).view(n, 4) / (n * 4)

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, i):
        time.sleep(0.004 * planted.SCALE)
        return self.frames[i], self.frames[i].mean(0, keepdim=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    loader = DataLoader(
        Frames(160),
        batch_size=8,
        shuffle=True,
        num_workers=2,
        multiprocessing_context="spawn",
        persistent_workers=True,
    )
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adagrad(model.parameters(), lr=1e-2)
    steps = 0
    for epoch in range(3):
        for x, y in planted.watch(loader):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            steps += 1
        print(f"epoch {epoch}: {loss.item():.8f}")
    planted.tell(steps, 3, "loading", samples=480)
