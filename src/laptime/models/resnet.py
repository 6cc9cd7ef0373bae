"""ResNet-18 for images of 32x32 (He et al. 2015, "Deep Residual Learning", CIFAR variant)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Norm = Literal["batch", "none"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; a 1x1 projection where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, out_channels, kernel_size=3, stride=stride)
        self.norm1 = _norm(out_channels, norm)
        self.conv2 = _convolution(out_channels, out_channels, kernel_size=3, stride=1)
        self.norm2 = _norm(out_channels, norm)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                _convolution(in_channels, out_channels, kernel_size=1, stride=stride),
                _norm(out_channels, norm),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h / stride, w / stride)."""
        out = functional.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return functional.relu(out + self.shortcut(x))


class ResNet18(nn.Module):
    """A 3x3 stem without pooling, 8 basic blocks in 4 groups, global average, one linear layer.

    With width 64, norm ``batch`` and 10 classes: 11,173,962 parameters in 62 tensors.
    """

    def __init__(self, num_classes: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = _convolution(3, width, kernel_size=3, stride=1)
        self.norm1 = _norm(width, norm)
        self.group1 = _group(width, width, stride=1, norm=norm)
        self.group2 = _group(width, 2 * width, stride=2, norm=norm)
        self.group3 = _group(2 * width, 4 * width, stride=2, norm=norm)
        self.group4 = _group(4 * width, 8 * width, stride=2, norm=norm)
        self.linear = nn.Linear(8 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, 3, 32, 32) to logits (batch, num_classes)."""
        x = functional.relu(self.norm1(self.conv1(x)))  # (batch, width, 32, 32)
        x = self.group4(self.group3(self.group2(self.group1(x))))  # (batch, 8 * width, 4, 4)
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)  # (batch, 8 * width)
        logits: Tensor = self.linear(x)
        return logits


def _group(in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(in_channels, out_channels, stride, norm),
        BasicBlock(out_channels, out_channels, 1, norm),
    )


def _convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
    )


def _norm(channels: int, norm: Norm) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity()
