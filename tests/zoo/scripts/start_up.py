"""Many short epochs, and workers that open a database at the start of each."""

import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import planted


def open_database(worker_id):
    time.sleep(0.12 * planted.SCALE)


def main():
    torch.manual_seed(0)
    x = torch.randn(40, 6)
    dataset = TensorDataset(x, x.norm(dim=1, keepdim=True))
    loader = DataLoader(
        dataset, batch_size=8, shuffle=True, num_workers=2, worker_init_fn=open_database
    )
    model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    steps = 0
    for epoch in range(8):
        for inputs, targets in planted.watch(loader):
            loss = nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
        print(f"epoch {epoch + 1:2d}  loss {loss.item():.6f}")
    planted.tell(steps, 8, "start_up", samples=320)


if __name__ == "__main__":
    main()
