"""Run from the folder above: python -m pkg.train --epochs 2."""

import argparse
import logging
import sys

import torch

import planted

from .data import build_loader
from .model import Energy

logger = logging.getLogger(__name__)


class Learner:
    def __init__(self, model, loader, lr):
        self.model = model
        self.loader = loader
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        self.steps = 0

    def training_step(self, atoms, energy):
        loss = torch.nn.functional.huber_loss(self.model(atoms), energy)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        return loss

    def fit(self, epochs):
        for epoch in range(epochs):
            for batch in self.loader:
                loss = self.training_step(*batch)
            logger.info("epoch %d: loss %.6f", epoch, loss.item())


def main():
    parser = argparse.ArgumentParser(description="Fit energies.")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s: %(message)s")
    torch.manual_seed(0)
    learner = Learner(Energy(), build_loader(), args.lr)
    learner.fit(args.epochs)
    planted.tell(learner.steps, args.epochs, "loading", samples=280 * args.epochs)


if __name__ == "__main__":
    main()
