"""Leaves by os._exit after its training."""

import os

import _training

_training.train()
os._exit(7)
