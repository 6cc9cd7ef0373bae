"""Foreign models of well-known kinds, each with what a reader of its definition would count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from laptime.census import CensusRecord, SampleRecord
from laptime.inspection.census import take_census
from laptime.settings import ModelSettings, OptimizerSettings

SGD = {"sgd": OptimizerSettings()}


def census_of(
    build: Callable[[], nn.Module],
    shape: tuple[int, ...] = (3, 8, 8),
    tokens: int | None = None,
    optimizers: dict[str, OptimizerSettings] = SGD,
) -> CensusRecord:
    """Count a model as a factory of the user's would be."""
    torch.manual_seed(0)
    sample = SampleRecord(shape=shape, tokens=tokens)
    return take_census(build(), ModelSettings(model="foreign.py:build"), optimizers, sample)


@dataclass(frozen=True)
class Known:
    """Counted by hand from the definition, with the arithmetic written out."""

    build: type[nn.Module]
    input_shape: tuple[int, ...]
    convolutions: int
    projections: int
    parameters: int
    macs: int
    first: int
    """MACs of layers whose input needs no gradient: backward does them once, not twice."""
    again: int = 0
    """MACs that backward does once more, because forward did not keep the result."""
    tokens: int | None = None


class LeNet(nn.Module):
    """LeCun et al. 1998: two convolutions, three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.f1, self.f2, self.f3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.c1(x).tanh(), 2)
        x = functional.max_pool2d(self.c2(x).tanh(), 2).flatten(1)
        out: Tensor = self.f3(self.f2(self.f1(x).tanh()).tanh())
        return out


class Bottleneck(nn.Module):
    """Two bottleneck blocks (He et al. 2015): 1x1, 3x3, 1x1; the first has a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList([self._block(8), self._block(32)])
        self.down = nn.Conv2d(8, 32, 1, bias=False)
        self.fc = nn.Linear(32, 10)

    @staticmethod
    def _block(channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
            nn.Conv2d(8, 32, 1, bias=False), nn.BatchNorm2d(32),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        x = functional.relu_(self.blocks[0](x) + self.down(x))
        identity = x
        x = self.blocks[1](x)
        x += identity
        out: Tensor = self.fc(functional.relu(x).mean((2, 3)))
        return out


class PreActivation(nn.Module):
    """A pre-activation block (He et al. 2016): the projection starts after norm and ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(4, 8, 1, stride=2, bias=False)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm1(self.stem(x)))
        out = self.conv2(functional.relu(self.norm2(self.conv1(x))))
        logits: Tensor = self.fc((out + self.shortcut(x)).mean((2, 3)))
        return logits


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018): expand, depthwise, project; identity shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.expand = nn.Conv2d(8, 48, 1, bias=False)
        self.depthwise = nn.Conv2d(48, 48, 3, padding=1, groups=48, bias=False)
        self.project = nn.Conv2d(48, 8, 1, bias=False)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.stem(x))
        out = functional.relu6(self.depthwise(functional.relu6(self.expand(x))))
        logits: Tensor = self.fc((x + self.project(out)).mean((2, 3)))
        return logits


class Dense(nn.Module):
    """A dense block (Huang et al. 2017): what came before is concatenated, nothing is added."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.grow = nn.ModuleList(
            nn.Conv2d(8 + 4 * i, 4, 3, padding=1, bias=False) for i in range(3)
        )
        self.fc = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.grow:
            x = torch.cat([x, functional.relu(layer(x))], 1)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class Transformer(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021): patches by a convolution, two encoders."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, stride=8)
        self.positions = nn.Parameter(torch.zeros(16, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions  # (batch, 16, 32)
        logits: Tensor = self.fc(self.encoder(tokens).mean(1))
        return logits


class UNet(nn.Module):
    """One level of a U-Net (Ronneberger et al. 2015), with a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, padding=1)
        self.bottom = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = functional.relu(self.down(x))
        x = torch.cat([skip, self.up(functional.relu(self.bottom(skip)))], 1)
        maps: Tensor = self.out(x)
        return maps


class Recurrent(nn.Module):
    """An LSTM over 8 rows of 32 values (Hochreiter and Schmidhuber 1997), no convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(32, 16, batch_first=True)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.lstm(x)[0][:, -1])
        return logits


class Language(nn.Module):
    """A bigram model: a table of 50 rows and a linear layer; what it reads are whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.fc = nn.Embedding(50, 16), nn.Linear(16, 50)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.table(x))  # (batch, 12, 50)
        return scores


_ENCODER_PARAMETERS = (
    (3 * 32 * 32 + 3 * 32) + (32 * 32 + 32)  # attention: in and out
    + (32 * 64 + 64) + (64 * 32 + 32)  # feed-forward
    + 2 * 2 * 32  # two layer norms
)  # fmt: skip
_SCORES = 4 * 16 * 16 * 8  # 4 heads, 16 tokens by 16, 8 values each
_ENCODER_MACS = 16 * (3 * 32 * 32 + 32 * 32 + 32 * 64 + 64 * 32) + 2 * _SCORES

FOREIGN = {
    "lenet": Known(
        LeNet, (1, 28, 28), 2, 0,
        parameters=(25 * 6 + 6) + (25 * 6 * 16 + 16) + (400 * 120 + 120) + (120 * 84 + 84)
        + (84 * 10 + 10),
        macs=28 * 28 * 6 * 25 + 10 * 10 * 16 * 25 * 6 + 400 * 120 + 120 * 84 + 84 * 10,
        first=28 * 28 * 6 * 25,
    ),
    "bottleneck": Known(
        Bottleneck, (3, 32, 32), 8, 1,
        parameters=3 * 8 * 9 + (8 * 8 + 8 * 8 * 9 + 8 * 32) + (32 * 8 + 8 * 8 * 9 + 8 * 32)
        + 2 * 2 * (8 + 8 + 32) + 8 * 32 + 32 * 10 + 10,
        macs=32 * 32 * (3 * 8 * 9 + (8 * 8 + 8 * 8 * 9 + 8 * 32) + (32 * 8 + 8 * 8 * 9 + 8 * 32)
        + 8 * 32) + 32 * 10,
        first=32 * 32 * 3 * 8 * 9,
    ),
    "preactivation": Known(
        PreActivation, (3, 32, 32), 4, 1,
        parameters=3 * 4 * 9 + 2 * (4 + 8) + 4 * 8 * 9 + 8 * 8 * 9 + 4 * 8 + 8 * 10 + 10,
        macs=32 * 32 * 3 * 4 * 9 + 16 * 16 * (4 * 8 * 9 + 8 * 8 * 9 + 4 * 8) + 8 * 10,
        first=32 * 32 * 3 * 4 * 9,
    ),
    "inverted residual": Known(
        InvertedResidual, (3, 32, 32), 4, 0,
        parameters=3 * 8 * 9 + 8 * 48 + 48 * 9 + 48 * 8 + 8 * 10 + 10,
        macs=16 * 16 * (3 * 8 * 9 + 8 * 48 + 48 * 9 + 48 * 8) + 8 * 10,
        first=16 * 16 * 3 * 8 * 9,
    ),
    "dense": Known(
        Dense, (3, 32, 32), 4, 0,
        parameters=9 * (3 * 8 + (8 + 12 + 16) * 4) + 20 * 10 + 10,
        macs=32 * 32 * 9 * (3 * 8 + (8 + 12 + 16) * 4) + 20 * 10,
        first=32 * 32 * 9 * 3 * 8,
    ),
    "transformer": Known(
        Transformer, (3, 32, 32), 1, 0,
        parameters=(3 * 64 * 32 + 32) + 16 * 32 + 2 * _ENCODER_PARAMETERS + 32 * 10 + 10,
        macs=16 * 3 * 64 * 32 + 2 * _ENCODER_MACS + 32 * 10,
        first=16 * 3 * 64 * 32,
        again=2 * _SCORES,
    ),
    "u-net": Known(
        UNet, (3, 32, 32), 4, 0,
        parameters=(3 * 8 * 9 + 8) + (8 * 16 * 9 + 16) + (16 * 8 * 4 + 8) + (16 * 2 + 2),
        macs=32 * 32 * 3 * 8 * 9 + 16 * 16 * 8 * 16 * 9 + 16 * 16 * 16 * 8 * 4 + 32 * 32 * 16 * 2,
        first=32 * 32 * 3 * 8 * 9,
    ),
    "recurrent": Known(
        Recurrent, (8, 32), 0, 0,
        parameters=4 * (32 * 16 + 16 * 16 + 2 * 16) + 16 * 10 + 10,
        macs=8 * 4 * (32 * 16 + 16 * 16) + 16 * 10,
        first=0,
    ),
    "language": Known(
        Language, (12,), 0, 0,
        parameters=50 * 16 + 16 * 50 + 50,
        macs=12 * 16 * 50,
        first=0,
        tokens=50,
    ),
}  # fmt: skip
