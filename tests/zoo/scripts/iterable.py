"""A stream of text, tokenised on the way; the tokeniser is slow."""

import random

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import planted

WORDS = "the a cat dog sat ran on under mat tree and then".split()
CONTEXT = 6
BATCH_SIZE = 8


class Stream(IterableDataset):
    def __init__(self, lines, seed):
        self.lines = lines
        self.seed = seed

    def __iter__(self):
        rng = random.Random(self.seed)
        for served in range(self.lines):
            phase = "loader_start" if served < BATCH_SIZE else "data_wait"
            planted.busy(phase, 0.001)
            ids = [rng.randrange(len(WORDS)) for _ in range(CONTEXT + 1)]
            yield torch.tensor(ids[:-1]), torch.tensor(ids[1:])


class LanguageModel(nn.Module):
    def __init__(self, vocabulary, width=16):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.rnn = nn.LSTM(width, width, batch_first=True)
        self.out = nn.Linear(width, vocabulary)

    def forward(self, ids):
        return self.out(self.rnn(self.embed(ids))[0])


def main():
    torch.manual_seed(0)
    model = LanguageModel(len(WORDS))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    steps = 0
    for epoch in range(2):
        loader = DataLoader(Stream(30 * BATCH_SIZE, seed=epoch), batch_size=BATCH_SIZE)
        for ids, targets in loader:
            logits = model(ids)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            if steps % 10 == 0:
                print(f"step {steps} perplexity {loss.exp().item():.4f}")
    planted.tell(steps, 2, "loading", samples=60 * BATCH_SIZE)


main()
