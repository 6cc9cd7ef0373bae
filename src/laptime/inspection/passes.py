"""One forward and one backward pass in training mode: arithmetic, what is kept, gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from laptime.census import PassRecord, SampleRecord
from laptime.errors import ModelError
from laptime.inspection.arithmetic import count_arithmetic, macs_of
from laptime.inspection.samples import answer, draw, tensors


def train_twice(model: nn.Module, sample: SampleRecord) -> tuple[PassRecord, PassRecord]:
    """Return a pass of one sample and one of two; the model keeps the gradients of the last.

    Two passes, because what is kept for backward grows along a line, and because the number of
    gradients that are not 0 depends on the samples. A model that needs more than one sample in
    training, as batch norm does on maps of one place, gets two and three.

    Raises:
        ModelError: The model cannot be trained on such samples.
    """
    try:
        few = train_once(model, sample, 1)
    except ModelError:
        few = train_once(model, sample, 2)
    return few, train_once(model, sample, few.samples + 1)


def train_once(model: nn.Module, sample: SampleRecord, samples: int) -> PassRecord:
    """Return what a forward and a backward pass of so many random samples did.

    Raises:
        ModelError: The model raises, or nothing that it returns has a gradient.
    """
    model.train()
    model.zero_grad(set_to_none=True)
    batch = draw(sample, samples, model)
    kept = _Kept(model, batch)
    with count_arithmetic() as counter:
        with torch.enable_grad(), kept.hooks():
            loss = loss_of(answer(model, batch))
        loss.backward()  # type: ignore[no-untyped-call]
    gradients = gradients_of(model)
    return PassRecord(
        samples=samples,
        macs=macs_of(counter),
        input_bytes=batch.nbytes,
        saved_bytes=kept.bytes,
        gradient_tensors=len(gradients),
        gradient_elements=sum(gradient.numel() for gradient in gradients),
        nonzero_gradients=num_nonzero(gradients),
    )


def loss_of(returned: Any) -> Tensor:
    """Return a loss that every output takes part in: cross-entropy of logits, else squares.

    Raises:
        ModelError: No output depends on a trainable parameter.
    """
    outputs = [output for output in tensors(returned) if output.requires_grad]
    if not outputs:
        raise ModelError(
            "the model returns no tensor that depends on a trainable parameter, so there is no "
            "gradient to count. Return its output in a tensor, list, dict or dataclass, undetached."
        )
    if len(outputs) == 1 and outputs[0].dim() == 2 and outputs[0].shape[1] > 1:
        labels = torch.arange(len(outputs[0]), device=outputs[0].device) % outputs[0].shape[1]
        return functional.cross_entropy(outputs[0], labels)
    return torch.stack([output.abs().square().mean() for output in outputs]).sum()


def gradients_of(model: nn.Module) -> list[Tensor]:
    """Return the gradients that the parameters have; of sparse ones the stored values."""
    found = (parameter.grad for parameter in model.parameters())
    return [g.coalesce().values() if g.is_sparse else g for g in found if g is not None]


def num_nonzero(gradients: list[Tensor]) -> int:
    """Return the elements that are not 0."""
    return sum(int(torch.count_nonzero(gradient)) for gradient in gradients)


class _Kept:
    """What a forward pass keeps for backward, each storage once; parameters and input apart."""

    def __init__(self, model: nn.Module, batch: Tensor) -> None:
        own = [*model.parameters(), *model.buffers(), batch]
        self._own = {tensor.untyped_storage().data_ptr() for tensor in own}
        self._sizes: dict[int, int] = {}
        self._alive: list[Tensor] = []  # a storage that is freed gives its address to the next

    @property
    def bytes(self) -> int:
        """Bytes of all storages."""
        return sum(self._sizes.values())

    def hooks(self) -> torch.autograd.graph.saved_tensors_hooks:
        """Return the context in which what is kept is noted."""
        return torch.autograd.graph.saved_tensors_hooks(self._note, lambda tensor: tensor)

    def _note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own:
            self._sizes[storage.data_ptr()] = storage.nbytes()
            self._alive.append(tensor)
        return tensor
