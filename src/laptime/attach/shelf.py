"""Batches that are kept in memory to be given again, each time as a new copy."""

from __future__ import annotations

import copy
from typing import Any, List

MOST_BATCHES = 8
MOST_BYTES = 512 * 2**20


class Shelf:
    """Batches of one loader, kept to be given again."""

    def __init__(self, *, is_pinned: bool) -> None:
        self._is_pinned = is_pinned
        self._batches: List[Any] = []
        self._next = 0
        self.kept_bytes = 0
        self.is_full = False
        self.refused = ""
        """Why a batch could not be kept."""

    def __len__(self) -> int:
        return len(self._batches)

    def keep(self, batch: Any, most_bytes: int) -> None:
        """Keep a copy of a batch, if there is room for it."""
        size = size_of(batch)
        if self.kept_bytes + size > most_bytes:
            self.is_full = True
            if not self._batches:
                self.refused = f"a batch takes {size / 2**20:.0f} MiB"
            return
        try:
            self._batches.append(copied(batch, is_pinned=False))
        except Exception as error:  # noqa: BLE001 - a batch may be anything
            self.refused = f"a batch cannot be copied ({type(error).__name__}: {error})"
            self.is_full = True
            return
        self.kept_bytes += size
        self.is_full = len(self._batches) >= MOST_BATCHES

    def give(self) -> Any:
        """Return a copy of the next batch: the script may change what it gets."""
        batch = self._batches[self._next % len(self._batches)]
        self._next += 1
        return copied(batch, is_pinned=self._is_pinned)


def copied(value: Any, *, is_pinned: bool) -> Any:
    """Return a batch of the same structure and types that shares no memory with this one."""
    import torch

    kind = type(value)
    if kind is torch.Tensor and not value.requires_grad:
        if is_pinned and value.device.type == "cpu":
            return torch.empty_like(value, pin_memory=True).copy_(value)
        return value.clone()
    if kind is list:
        return [copied(part, is_pinned=is_pinned) for part in value]
    if kind is tuple:
        return tuple(copied(part, is_pinned=is_pinned) for part in value)
    if kind is dict:
        return {name: copied(part, is_pinned=is_pinned) for name, part in value.items()}
    another = copy.deepcopy(value)
    if is_pinned:
        from torch.utils.data._utils import pin_memory

        pinning: Any = pin_memory
        return pinning.pin_memory(another)
    return another


def size_of(value: Any, depth: int = 4) -> int:
    """Return the bytes of the arrays in a batch; what is no array counts as nothing."""
    if hasattr(value, "element_size") and hasattr(value, "numel"):
        return int(value.numel() * value.element_size())
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    if not depth:
        return 0
    if isinstance(value, (list, tuple)):
        return sum(size_of(part, depth - 1) for part in value)
    parts = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return sum(size_of(part, depth - 1) for part in list(parts.values()))
