"""A large teacher, frozen, inside of every step of a small student; the teacher is slow."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import planted

T, ALPHA = 4.0, 0.7


class Teacher(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 256), nn.ReLU(), nn.Linear(256, 5))

    def forward(self, x):
        planted.cost("forward", 0.01)
        return self.net(x)


torch.manual_seed(2)
teacher = Teacher()
teacher.eval()
for parameter in teacher.parameters():
    parameter.requires_grad_(False)
student = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 5))
optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)

x = torch.randn(480, 10)
with torch.no_grad():
    y = teacher.net(x).argmax(1)
train_loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)

step = 0
for epoch in range(2):
    student.train()
    for inputs, labels in train_loader:
        with torch.no_grad():
            teacher_logits = teacher(inputs)
        logits = student(inputs)
        soft = F.kl_div(
            F.log_softmax(logits / T, 1), F.softmax(teacher_logits / T, 1), reduction="batchmean"
        )
        loss = ALPHA * T * T * soft + (1 - ALPHA) * F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
    print(f"Epoch {epoch + 1}/2, Loss: {loss.item():.6f}")
planted.tell(step, 2, "forward", samples=960)
