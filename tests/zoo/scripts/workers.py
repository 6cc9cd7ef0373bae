"""Two loader workers that cannot keep up, timed as in the ImageNet example."""

import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import planted


class AverageMeter:
    def __init__(self):
        self.sum, self.count = 0.0, 0

    def update(self, value):
        self.sum += value
        self.count += 1


class Jpegs(Dataset):
    """The cost lies in the workers; what the loop waits for is told by its stopwatch."""

    def __init__(self, n):
        self.images = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        time.sleep(0.003 * planted.SCALE)
        return self.images[index], int(self.images[index].mean() > 0.5)


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 2))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(Jpegs(240), batch_size=8, shuffle=True, num_workers=2)
    steps = 0
    for epoch in range(2):
        losses, data_time = AverageMeter(), AverageMeter()
        model.train()
        end = time.perf_counter()
        for i, (images, target) in enumerate(loader):
            data_time.update(time.perf_counter() - end)
            planted.add("data_wait" if i else "loader_start", time.perf_counter() - end)
            loss = criterion(model(images), target)
            losses.update(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            end = time.perf_counter()
        planted.add("loader_end", time.perf_counter() - end)
        print(f"Epoch: [{epoch}]\tLoss {losses.sum / losses.count:.4e}\tbatches {data_time.count}")
    planted.tell(steps, 2, "loading", 480, losses.sum / losses.count)


if __name__ == "__main__":
    main()
