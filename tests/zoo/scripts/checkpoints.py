"""Saves every few steps to a disk that is slow to take it."""

import io
import os
import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import planted

SAVE_EVERY = 4


class NetworkDisk(io.FileIO):
    """A file on a share: every write goes over the wire."""

    def write(self, data):
        planted.cost("checkpoint", 0.0004)
        return super().write(data)


def save_checkpoint(state, path):
    with NetworkDisk(path, "w") as f:
        torch.save(state, f)


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    x = torch.randn(480, 4)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=12, shuffle=True)
    step = 0
    with tempfile.TemporaryDirectory() as directory:
        for epoch in range(2):
            for inputs, targets in loader:
                loss = ((model(inputs) - targets) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                if step % SAVE_EVERY == 0:
                    save_checkpoint(
                        {
                            "step": step,
                            "model": model.state_dict(),
                            "optimizer": optimizer.state_dict(),
                            "loss": loss,
                        },
                        os.path.join(directory, f"step-{step:04d}.pt"),
                    )
            print(f"epoch {epoch}: {loss.item():.6f}, {len(os.listdir(directory))} checkpoints")
    planted.tell(step, 2, "checkpoint", samples=960)


if __name__ == "__main__":
    main()
