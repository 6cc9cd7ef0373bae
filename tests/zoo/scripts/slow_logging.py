"""Sends the metrics of every step to a tracker, and waits for its answer."""

import json
import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import planted


class Tracker:
    def __init__(self, path):
        self.file = open(path, "w")

    def log(self, metrics, step):
        planted.cost("other", 0.01)
        self.file.write(json.dumps({"step": step, **metrics}) + "\n")
        self.file.flush()

    def finish(self):
        self.file.close()


def main():
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as directory:
        run = Tracker(f"{directory}/metrics.jsonl")
        x = torch.randn(600, 5)
        y = (x.sum(1) > 0).float()
        loader = DataLoader(TensorDataset(x, y), batch_size=20, shuffle=True)
        model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))
        optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
        step = 0
        for epoch in range(2):
            for inputs, labels in loader:
                optimizer.zero_grad()
                logits = model(inputs).squeeze(1)
                loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
                loss.backward()
                optimizer.step()
                accuracy = ((logits > 0) == labels.bool()).float().mean()
                run.log({"loss": loss.item(), "accuracy": accuracy.item()}, step)
                step += 1
            print(f"epoch {epoch}: loss={loss.item():.6f} accuracy={accuracy.item():.3f}")
        run.finish()
    planted.tell(step, 2, "other", samples=1200)


if __name__ == "__main__":
    main()
