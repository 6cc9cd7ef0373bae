"""Two processes under torchrun; the model is slow on both.

Run: torchrun --standalone --nproc-per-node 2 ddp.py
"""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import planted


class ToyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.net1 = nn.Linear(10, 10)
        self.relu = nn.ReLU()
        self.net2 = nn.Linear(10, 5)

    def forward(self, x):
        planted.cost("forward", 0.012)
        return self.net2(self.relu(self.net1(x)))


def main():
    dist.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    torch.manual_seed(0)
    x = torch.randn(800, 10)
    dataset = TensorDataset(x, x[:, :5].abs())
    sampler = DistributedSampler(dataset, shuffle=True)
    loader = DataLoader(dataset, batch_size=10, sampler=sampler)
    model = DDP(ToyModel())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss_fn = nn.MSELoss()
    steps = 0
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(inputs), labels)
            loss.backward()
            optimizer.step()
            steps += 1
        if rank == 0:
            print(f"Epoch {epoch} | Batchsize: 10 | Steps: {len(loader)} | {loss.item():.6f}")
    if rank == 0:
        planted.tell(steps, 2, "forward", samples=800)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
