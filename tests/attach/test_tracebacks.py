"""What a script's errors print is the same with the recorder in it: its frames, and no others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.attach.foreign import BARE, Place, enterable, version

pytestmark = pytest.mark.zoo

STARTED = """
import copy, io, logging, os, sys, threading, traceback, warnings
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = torch.randn(16, 4), torch.zeros(16, dtype=torch.long)
model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
data = TensorDataset(x, y)

def step(net=model, loss=nn.functional.cross_entropy):
    for a, b in DataLoader(data, batch_size=8):
        optimizer.zero_grad()
        loss(net(a), b).backward()
        optimizer.step()

class Bad(nn.Module):
    def __init__(self, inner=None):
        super().__init__()
        self.inner, self.weight = inner, nn.Parameter(torch.ones(1))

    def forward(self, x):
        if self.inner is not None:
            return self.inner(x) * self.weight
        raise ValueError("a bad batch")

class BadData(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        if i == 5:
            raise KeyError("a bad sample")
        return x[i], y[i]

class BadGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sum()

    @staticmethod
    def backward(ctx, gradient):
        raise ArithmeticError("a bad gradient")

class BadClosure:
    def __call__(self):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        raise RuntimeError("a bad closure")

def raised_from():
    try:
        step(Bad())
    except ValueError as error:
        raise SystemError("handled") from error

def in_thread():
    thread = threading.Thread(target=step, args=(Bad(),), name="trainer")
    thread.start()
    thread.join()

def by_owner(net):
    own = torch.optim.SGD(net.parameters(), lr=0.1)
    for a, b in DataLoader(data, batch_size=8):
        own.zero_grad()
        net(a).sum().backward()
        own.step()

def endless(n=0):
    return endless(n + 1)

step()
"""
"""Trains two steps, so that all of the recorder is there, and defines what goes wrong."""

CASES = {
    "forward": "by_owner(Bad())",
    "a submodule's forward": "by_owner(Bad(Bad()))",
    "dataset": "list(DataLoader(BadData()))",
    "dataset in a worker": "list(DataLoader(BadData(), num_workers=1))",
    "collate": "list(DataLoader(data, batch_size=4, collate_fn=lambda rows: 1 // 0))",
    "sampler": "list(DataLoader(data, sampler=iter([99])))",
    "loss": "step(loss=nn.functional.nll_loss)",
    "target": "step(loss=lambda a, b: nn.functional.cross_entropy(a, b + 9))",
    "gradient": "BadGradient.apply(x.requires_grad_()).backward()",
    "gradient of inputs": "torch.autograd.grad(BadGradient.apply(x.requires_grad_()), x)",
    "backward twice": "loss = model(x).sum(); loss.backward(); loss.backward()",
    "backward of many": "model(x).backward()",
    "closure": "torch.optim.LBFGS(model.parameters()).step(BadClosure())",
    "no parameters": "torch.optim.SGD([], lr=0.1)",
    "a wrong group": "optimizer.add_param_group({'params': model.parameters()})",
    "a wrong loader": "DataLoader(data, batch_size=4, num_workers=-1)",
    "a wrong word": "DataLoader(data, bach_size=4)",
    "item of many": "x.item()",
    "numpy with gradient": "model(x).numpy()",
    "save": "torch.save(threading.Lock(), io.BytesIO())",
    "save nowhere": "torch.save(x, os.path.join('no', 'such', 'directory'))",
    "clip": "nn.utils.clip_grad_norm_([nn.Parameter(x)], 1, foreach=3, norm_type='p')",
    "zero_grad": "optimizer.zero_grad(1, 2, 3)",
    "schedule": "torch.optim.lr_scheduler.StepLR(optimizer, 1).step('a')",
    "scaler": "torch.amp.GradScaler('cpu').step(optimizer)",
    "raised from": "raised_from()",
    "recursion": "by_owner(nn.Sequential(nn.Linear(4, 4), Bad(lambda x: endless())))",
    "interrupt": "by_owner(Bad(lambda x: (_ for _ in ()).throw(KeyboardInterrupt())))",
}

CAUGHT = """
for name, code in {cases!r}.items():
    try:
        exec(compile(code, "case.py", "exec"))
    except BaseException as error:
        print(name)
        traceback.print_exc(file=sys.stdout)
        for line in traceback.format_list(traceback.extract_tb(error.__traceback__)):
            print(line)
        logging.exception(name)
"""

UNCAUGHT = {
    "forward": "by_owner(Bad(Bad()))",
    "dataset": "list(DataLoader(BadData()))",
    "raised from": "raised_from()",
    "thread": "in_thread()",
    "recursion": "by_owner(Bad(lambda x: endless()))",
    "own hook": "sys.excepthook = lambda *a: print(traceback.extract_tb(a[2]))\nstep(Bad())",
    "first of all": "pass",
}


def interpreters(newest: tuple[int, int]) -> list[object]:
    """Return those that a test can use: where Python leaves frames out of a re-raise, or all."""
    return [
        word
        for word in enterable()
        if not isinstance(word, str) or word == BARE or version(word) >= newest
    ]


@pytest.mark.parametrize("word", interpreters((3, 11)))
def test_a_traceback_that_a_script_prints_itself_is_as_without_us(
    word: str, place: Place, with_torch: Callable[[str], str]
) -> None:
    place.write("train.py", STARTED + CAUGHT.format(cases=CASES))
    pair = place.pair(with_torch(word), "train.py")

    pair.check()
    assert "laptime" not in pair.under.stdout + pair.under.stderr
    assert pair.under.stdout.count("Traceback (most recent call last)") >= len(CASES)


@pytest.mark.parametrize("word", interpreters((3, 9)))
@pytest.mark.parametrize("name", UNCAUGHT)
def test_an_error_that_ends_a_script_prints_what_it_prints_without_us(
    name: str, word: str, place: Place, with_torch: Callable[[str], str]
) -> None:
    first = "raise OSError('before a step')\n" if name == "first of all" else ""
    place.write("train.py", STARTED.replace("\nstep()\n", f"\n{first}step()\n") + UNCAUGHT[name])
    pair = place.pair(with_torch(word), "train.py")

    pair.check()
    assert pair.plain.status == (0 if name == "thread" else 1)


@pytest.mark.parametrize("word", interpreters((3, 9)))
def test_a_warning_names_the_line_that_it_names_without_us(
    word: str, place: Place, with_torch: Callable[[str], str]
) -> None:
    place.write("train.py", STARTED + WARNS)
    pair = place.pair(with_torch(word), "-W", "always", "train.py")

    pair.check()
    assert pair.plain.stderr.count("Warning") >= 4


WARNS = """
float(model(x).sum())
model(x).sum().item()
torch.optim.lr_scheduler.StepLR(torch.optim.SGD(model.parameters(), lr=1.0), 1).step()
torch.optim.lr_scheduler.StepLR(optimizer, 1).step(3)
class Warns(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        warnings.warn("here")
        warnings.warn("the caller", stacklevel=2)
        warnings.warn("the caller's caller", stacklevel=4)
        return x * self.weight

net = Warns()
own = torch.optim.SGD(net.parameters(), lr=0.1)
for a, b in DataLoader(data, batch_size=8):
    own.zero_grad()
    net(a).sum().backward()
    own.step()
DataLoader(data, num_workers=64)
list(DataLoader(data, num_workers=3))
model(x).sum().backward(create_graph=True)
nn.functional.cross_entropy(model(x), torch.zeros(16, 4)).tolist()
x[:1].sum().cpu().numpy().flags.writeable = False
"""
