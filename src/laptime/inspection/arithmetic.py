"""How arithmetic is counted: torch's own counter, and formulas where it has none or a wrong one."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from laptime.census import FLOPS_PER_MAC

Sizes = tuple[int, ...]


def count_arithmetic() -> FlopCounterMode:
    """Return a context that counts the FLOPs of everything computed in it."""
    return FlopCounterMode(display=False, custom_mapping=_FORMULAS)


def macs_of(counter: FlopCounterMode) -> int:
    """Return the multiply-accumulates counted so far."""
    return counter.get_total_flops() // FLOPS_PER_MAC


def _convolution_backward(
    gradient: Sizes, images: Sizes, weights: Sizes, *rest: Any, **__: Any
) -> int:
    """Return the FLOPs of the gradients that are asked for, each as many as forward takes.

    torch 2.13 takes every channel for the gradient of a grouped convolution's weights: to it a
    training pass of MobileNetV2 is 20 forward passes, where it is 3.
    """
    *_, is_transposed, _padding, _groups, wanted = rest
    places = (images if is_transposed else gradient)[2:]
    forward = FLOPS_PER_MAC * images[0] * prod(places) * prod(weights)
    return forward * sum(map(bool, wanted[:2]))


def _attention(query: Sizes, key: Sizes, value: Sizes, *_: Any, **__: Any) -> int:
    """Return the FLOPs of scores and of their product with the values, masked ones too."""
    return _scores(query, key) * (query[-1] + value[-1])


def _attention_backward(
    _: Sizes, query: Sizes, key: Sizes, value: Sizes, *__: Any, **___: Any
) -> int:
    """Return the FLOPs of the scores once more and of four gradients."""
    return _scores(query, key) * (3 * query[-1] + 2 * value[-1])


def _scores(query: Sizes, key: Sizes) -> int:
    return FLOPS_PER_MAC * prod(query[:-1]) * key[-2]


def _recurrent(inputs: Sizes, weights: Sizes, hidden: Sizes, *_: Any, **__: Any) -> int:
    """Return the FLOPs of a layer whose steps are one operation: oneDNN's LSTM on a CPU."""
    return FLOPS_PER_MAC * prod(inputs[:-1]) * (prod(weights) + prod(hidden))


def _recurrent_backward(*shapes: Any, **named: Any) -> int:
    return 2 * _recurrent(*shapes, **named)


_aten = torch.ops.aten
_FORMULAS = {
    _aten.convolution_backward: _convolution_backward,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    _aten.mkldnn_rnn_layer: _recurrent,
    _aten.mkldnn_rnn_layer_backward: _recurrent_backward,
}
