"""Ends while it is imported."""

import torch

if torch.tensor(1).item():
    raise RuntimeError("no licence was found")
