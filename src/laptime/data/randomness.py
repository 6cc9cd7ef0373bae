"""Random bits as a pure function of what they are for: no generator, no state to carry along."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_MASK = (1 << 64) - 1

Bits = TypeVar("Bits", int, npt.NDArray[np.uint64])


def mix(value: Bits) -> Bits:
    """Scramble 64 bits, an integer's or those of each element of an array.

    The output function of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom
    number generators").
    """
    bits: Any = (value + 0x9E3779B97F4A7C15) & _MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    mixed: Bits = bits ^ (bits >> 31)
    return mixed


def stream(seed: int, epoch: int, purpose: int) -> int:
    """Return 64 bits that set one use of randomness in one epoch apart from all others."""
    return mix(mix(mix(seed) ^ epoch) ^ purpose)
