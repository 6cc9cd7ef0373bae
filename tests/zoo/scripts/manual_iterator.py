"""Counts steps, not epochs: an iterator that is made anew when it ends; samples are slow."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import planted


class Signals(Dataset):
    def __init__(self, size, batch_size):
        self.signals = torch.randn(size, 1, 32)
        self.batch_size = batch_size
        self.served = 0

    def __len__(self):
        return len(self.signals)

    def __getitem__(self, i):
        planted.loading(self.served % len(self), self.batch_size, 0.001)
        self.served += 1
        return self.signals[i], self.signals[i].abs().max()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(0)

    loader = DataLoader(Signals(170, args.batch_size), batch_size=args.batch_size, shuffle=True)
    model = nn.Sequential(nn.Conv1d(1, 8, 5), nn.ReLU(), nn.Flatten(), nn.LazyLinear(1))
    model(torch.zeros(1, 1, 32))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    data_iter = iter(loader)
    passes = 1
    for step in range(1, args.max_steps + 1):
        try:
            x, y = next(data_iter)
        except StopIteration:
            data_iter = iter(loader)
            passes += 1
            x, y = next(data_iter)
        loss = nn.functional.smooth_l1_loss(model(x).squeeze(1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step:4d} loss {loss.item():.6f}")
    planted.tell(args.max_steps, passes, "loading", samples=args.max_steps * args.batch_size)


if __name__ == "__main__":
    main()
