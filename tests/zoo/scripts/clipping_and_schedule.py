"""A transformer with clipping and a schedule of every step; its gradients are slow."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

import planted

WARMUP, TOTAL = 10, 60


class TinyTransformer(nn.Module):
    def __init__(self, vocab=30, d_model=16):
        super().__init__()
        self.embedding = nn.Embedding(vocab, d_model)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(d_model, 2, 32, dropout=0.1, batch_first=True), 1
        )
        self.decoder = nn.Linear(d_model, vocab)

    def forward(self, tokens):
        h = self.encoder(self.embedding(tokens) * math.sqrt(16))
        return self.decoder(planted.slow_gradient(h, 0.016))


def lr_lambda(step):
    if step < WARMUP:
        return step / WARMUP
    return 0.5 * (1.0 + math.cos(math.pi * (step - WARMUP) / (TOTAL - WARMUP)))


torch.manual_seed(11)
tokens = torch.randint(0, 30, (240, 9))
loader = DataLoader(TensorDataset(tokens), batch_size=8, shuffle=True)
model = TinyTransformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
scheduler = LambdaLR(optimizer, lr_lambda)
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

model.train()
total_loss, step = 0.0, 0
for epoch in range(2):
    for (batch,) in loader:
        output = model(batch[:, :-1])
        loss = criterion(output.reshape(-1, 30), batch[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
        total_loss += loss.item()
        step += 1
        if step % 15 == 0:
            lr = scheduler.get_last_lr()[0]
            print(f"| epoch {epoch} | step {step} | lr {lr:.2e} | loss {total_loss / 15:5.4f}")
            total_loss = 0.0
planted.tell(step, 2, "backward", samples=480)
