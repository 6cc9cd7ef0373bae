"""Accelerate, with accumulation and a test after each epoch; samples are slow to read."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import planted

BATCH_SIZE = 8


class Tables(Dataset):
    def __init__(self, n):
        self.rows = torch.randn(n, 7)
        self.served = 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        planted.loading(self.served % len(self), BATCH_SIZE, 0.001)
        self.served += 1
        return self.rows[i, :6], self.rows[i, 6:] + self.rows[i, :1]


def main():
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    train_loader = DataLoader(Tables(320), batch_size=BATCH_SIZE, shuffle=True)
    held_out = torch.randn(64, 7)
    eval_loader = DataLoader(TensorDataset(held_out[:, :6], held_out[:, 6:]), batch_size=32)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 40)
    model, optimizer, train_loader, eval_loader, scheduler = accelerator.prepare(
        model, optimizer, train_loader, eval_loader, scheduler
    )
    updates = 0
    for epoch in range(2):
        model.train()
        for inputs, targets in train_loader:
            with accelerator.accumulate(model):
                loss = nn.functional.mse_loss(model(inputs), targets)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                    updates += 1
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        model.eval()
        errors = []
        for inputs, targets in eval_loader:
            with torch.no_grad():
                predictions = model(inputs)
            predictions, targets = accelerator.gather_for_metrics((predictions, targets))
            errors.append((predictions - targets).square())
        accelerator.print(f"epoch {epoch}: {loss.item():.6f} test {torch.cat(errors).mean():.6f}")
    planted.tell(updates, 2, "loading", samples=640)


if __name__ == "__main__":
    main()
