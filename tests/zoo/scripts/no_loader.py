"""Random batches in a while loop, as for small language models; the model is slow."""

import torch
from torch import nn
from torch.nn import functional as F

import planted

batch_size, block_size, max_iters, eval_interval = 8, 12, 70, 25
torch.manual_seed(1337)
data = torch.randint(0, 20, (4000,))


def get_batch():
    planted.cost("other", 0.002)
    ix = torch.randint(len(data) - block_size, (batch_size,))
    x = torch.stack([data[i : i + block_size] for i in ix])
    y = torch.stack([data[i + 1 : i + block_size + 1] for i in ix])
    return x, y


class BigramLanguageModel(nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.token_embedding_table = nn.Embedding(vocab_size, vocab_size)

    def forward(self, idx, targets):
        logits = self.token_embedding_table(idx)
        planted.cost("forward", 0.01)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss


model = BigramLanguageModel(20)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
iter_num = 0
while True:
    xb, yb = get_batch()
    logits, loss = model(xb, yb)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if iter_num % eval_interval == 0:
        print(f"iter {iter_num}: loss {loss.item():.4f}")
    iter_num += 1
    if iter_num >= max_iters:
        break
planted.tell(iter_num, 1, "forward")
