"""A small training with torch.compile in one of its uses; prints what the compiler made of it."""

import sys

import torch
from torch import nn

mode = sys.argv[1]
torch.manual_seed(0)
graphs = 0


def backend(graph, examples):
    global graphs
    graphs += 1
    return graph.forward


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        inner = nn.Sequential(nn.Linear(64, 10))
        self.body = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), inner)

    def forward(self, x):
        return self.body(x)


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
call = model
if mode == "module":
    call = torch.compile(model, backend=backend, fullgraph=True)
elif mode == "in place":
    model.compile(backend=backend, fullgraph=True)
elif mode == "inner":
    model.body = torch.compile(model.body, backend=backend, fullgraph=True)
elif mode == "function":

    @torch.compile(backend=backend, fullgraph=True)
    def call(x):
        return model(x.to(torch.float32)) * 2

elif mode == "scripted":
    call = model = torch.jit.script(model)


@torch.compile(backend=backend)
def compiled_step(x, y):
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


def step(x, y):
    loss = nn.functional.cross_entropy(call(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


data = [(torch.randn(8, 32), torch.randint(0, 10, (8,))) for _ in range(12)]
for x, y in torch.utils.data.DataLoader(data, batch_size=None):
    loss = compiled_step(x, y) if mode == "step" else step(x, y)

breaks = 0
if "torch._dynamo" in sys.modules:
    breaks = sum(sys.modules["torch._dynamo"].utils.counters["graph_break"].values())
print(mode, graphs, breaks, loss.item())
