"""A checksum that tells whether two trainings ended with the same weights, to the bit."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from laptime.training.checkpoint import plain_name


def weights_sha256(model: nn.Module) -> str:
    """Return the SHA-256 over names (sorted), dtype, shape and bytes of parameters and buffers."""
    digest = hashlib.sha256()
    named = {plain_name(name): tensor for name, tensor in model.state_dict().items()}
    for name in sorted(named):
        tensor = named[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
