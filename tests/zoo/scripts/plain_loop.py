"""The loop of every tutorial; each sample is slow to read."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import planted

BATCH_SIZE = 16
EPOCHS = 3


class Points(Dataset):
    """Points of a plane, above or below a parabola."""

    def __init__(self, n):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(n, 2, generator=generator)
        self.y = (self.x[:, 1] > self.x[:, 0] ** 2).long()
        self.served = 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        planted.loading(self.served % len(self), BATCH_SIZE, 0.0006)
        self.served += 1
        return self.x[index], self.y[index]


torch.manual_seed(0)
loader = DataLoader(Points(320), batch_size=BATCH_SIZE, shuffle=True)
model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

steps = 0
for epoch in range(EPOCHS):
    running_loss = 0.0
    for inputs, labels in loader:
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        steps += 1
    print(f"epoch {epoch + 1}: loss {running_loss / len(loader):.6f}")
print("Finished Training")
planted.tell(steps, EPOCHS, "loading", EPOCHS * 320, running_loss / len(loader))
