"""Four small batches make one update; the batches are slow to put together."""

import torch
from torch import nn
from torch.utils.data import DataLoader

import planted

ACCUMULATE = 4
EPOCHS = 3
N = 42 * 6
batches_made = 0


def collate(samples):
    """Pad to the longest of the batch, as for sentences."""
    global batches_made
    planted.loading(batches_made % 42, 1, 0.009)
    batches_made += 1
    tokens = nn.utils.rnn.pad_sequence([t for t, _ in samples], batch_first=True)
    return tokens, torch.tensor([label for _, label in samples])


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16, padding_idx=0)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens):
        return self.head(self.embedding(tokens).mean(1))


torch.manual_seed(0)
sentences = [
    (torch.randint(1, 50, (int(torch.randint(3, 12, ())),)), int(torch.randint(0, 3, ())))
    for _ in range(N)
]
loader = DataLoader(sentences, batch_size=6, shuffle=True, collate_fn=collate)
model = Classifier()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
criterion = nn.CrossEntropyLoss()

updates = 0
for epoch in range(EPOCHS):
    total = 0.0
    optimizer.zero_grad(set_to_none=True)
    for i, (tokens, labels) in enumerate(loader):
        loss = criterion(model(tokens), labels) / ACCUMULATE
        loss.backward()
        total += loss.item() * ACCUMULATE
        if (i + 1) % ACCUMULATE == 0:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            updates += 1
    print(f"epoch {epoch} mean loss {total / len(loader):.6f} after {updates} updates")
planted.tell(updates, EPOCHS, "loading", samples=EPOCHS * N)
