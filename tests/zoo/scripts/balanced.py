"""Loading and the model take the same time: neither is the bottleneck."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import planted


class Documents(Dataset):
    def __init__(self):
        self.vectors = torch.randn(240, 12, generator=torch.Generator().manual_seed(4))
        self.served = 0

    def __len__(self):
        return 240

    def __getitem__(self, i):
        planted.loading(self.served % 240, 4, 0.002)
        self.served += 1
        return self.vectors[i], self.vectors[i].sum()


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 1)

    def forward(self, x):
        planted.cost("forward", 0.0083)
        return self.fc(x).squeeze(1)


torch.manual_seed(0)
loader = DataLoader(Documents(), batch_size=4, shuffle=True)
model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
steps = 0
for epoch in range(2):
    for x, y in loader:
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        steps += 1
    print(f"epoch {epoch} loss {loss.item():.6f}")
planted.tell(steps, 2, "ambiguous", samples=480)
