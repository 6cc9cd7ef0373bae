"""A checksum that tells whether two trainings ended with the same weights, to the bit."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

_PREFIXES = ("_orig_mod.", "module.")


def weights_sha256(model: nn.Module) -> str:
    """Return the SHA-256 over names (sorted), dtype, shape and bytes of parameters and buffers.

    The prefixes that torch.compile and DDP put before every name are left out. State that is no
    tensor is not part of it.
    """
    digest = hashlib.sha256()
    tensors = {n: t for n, t in model.state_dict().items() if isinstance(t, Tensor)}
    for name, tensor in sorted(without_wrappers(tensors).items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name}\0{values.dtype}\0{tuple(values.shape)}\0".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def without_wrappers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip a wrapper's prefix, again and again, where every name begins with it."""
    for prefix in _PREFIXES * 2:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
