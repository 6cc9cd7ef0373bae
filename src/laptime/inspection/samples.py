"""Random samples for a model, and the model's answers to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from laptime.census import SampleRecord
from laptime.errors import ModelError

_LONGEST = 200


def draw(sample: SampleRecord, count: int, model: nn.Module) -> Tensor:
    """Return a batch from torch's global generator, (count, *shape), in the model's own dtype."""
    if sample.tokens is not None:
        return torch.randint(sample.tokens, (count, *sample.shape))
    dtypes = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    return torch.randn(count, *sample.shape).to(next(dtypes, torch.float32))


def answer(model: nn.Module, batch: Tensor) -> Any:
    """Return what the model makes of a batch.

    Raises:
        ModelError: It raises.
    """
    try:
        return model(batch)
    except (Exception, SystemExit) as error:
        shape = ", ".join(map(str, batch.shape))
        mode = "training" if model.training else "evaluation"
        raise ModelError(
            f"the model does not take {'values' if batch.is_floating_point() else 'whole numbers'} "
            f"of shape ({shape}) in {mode} mode: {one_line(error)}. The first size is the batch; "
            f"give the others with --input, and --tokens N if it reads whole numbers."
        ) from error


def one_line(error: BaseException) -> str:
    """Return what went wrong, cut to a line's length."""
    text = " ".join(str(error).split()).rstrip(". ")
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return f"{type(error).__name__}: {shown}" if text else type(error).__name__


def tensors(value: Any) -> Iterator[Tensor]:
    """Return the tensors in what a model takes or returns: a list, a mapping, a record."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors(list(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for part in value:
            yield from tensors(part)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from tensors([getattr(value, field.name) for field in fields(value)])
