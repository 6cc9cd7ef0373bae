"""One forward pass, watched: the modules that it calls, their shapes, their arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from laptime.census import LayerRecord, SampleRecord, Shape
from laptime.inspection.arithmetic import count_arithmetic, macs_of
from laptime.inspection.flow import Flow, Node
from laptime.inspection.samples import answer, draw, tensors

CONVOLUTIONS = nn.modules.conv._ConvNd
"""The base of all of torch's convolutions, transposed and lazy ones too."""


@dataclass(frozen=True)
class Walk:
    """What a forward pass of one sample did."""

    layers: tuple[LayerRecord, ...]
    macs: int
    functions: int
    """Convolutions that no module made."""
    last_map: Shape | None
    """What the last linear layer was made from, if nothing with weights but norms lies between."""


@dataclass
class _Call:
    """What is known of a module's calls; shapes are those of the first."""

    depth: int
    input_shape: Shape | None
    output_shape: Shape | None = None
    count: int = 0
    macs: int = 0
    nodes: list[Node] = field(default_factory=list)


def walk(model: nn.Module, sample: SampleRecord) -> Walk:
    """Put one sample through the model in evaluation mode, and note every call of a module.

    A first pass goes unwatched: lazy modules have no shape before it, and some models make
    modules in it.

    Raises:
        ModelError: The model does not take such a sample.
    """
    model.eval()
    batch = draw(sample, 1, model)
    with torch.no_grad():
        answer(model, batch)
    given = batch.requires_grad_(batch.is_floating_point())
    watch = _Watch()
    # Attention's fast path is one operation in which nobody sees the matrix products.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    try:
        # A copy, because a model may change its input in place.
        with torch.enable_grad(), watch.hooked(model):
            returned = answer(model, given.clone())
    finally:
        torch.backends.mha.set_fastpath_enabled(value=fast)
    return watch.result(model, Flow(tensors(returned), given))


class _Watch:
    """Hooks on every module, and a counter of the arithmetic between them."""

    def __init__(self) -> None:
        self._calls: dict[nn.Module, _Call] = {}
        self._open: list[tuple[nn.Module, int]] = []
        self._counter = count_arithmetic()
        self._maps = _Maps()

    def hooked(self, model: nn.Module) -> ExitStack:
        """Return a context in which the model's calls are noted."""
        stack = ExitStack()
        for module in model.modules():
            before = module.register_forward_pre_hook(self._enter, with_kwargs=True)
            after = module.register_forward_hook(self._leave, always_call=True)
            stack.callback(before.remove)
            stack.callback(after.remove)
        stack.enter_context(self._counter)
        return stack

    def result(self, model: nn.Module, flow: Flow) -> Walk:
        """Return what was noted, with the projections that the flow tells apart."""
        names = {module: name for name, module in model.named_modules()}
        nodes = {
            module: call.nodes
            for module, call in self._calls.items()
            if isinstance(module, CONVOLUTIONS)
        }
        every = frozenset(node for made in nodes.values() for node in made)
        functions = max(0, flow.num_convolutions - len(every))
        can_tell = not functions and all(node in flow for node in every)
        found = flow.projections(every) if can_tell else None
        layers = [
            _record(module, names[module], call, found)
            for module, call in self._calls.items()
            if module in names
        ]
        return Walk(tuple(layers), macs_of(self._counter), functions, self._maps.before_linear)

    def _enter(self, module: nn.Module, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> None:
        shape = _shape([*inputs, *keywords.values()])
        self._calls.setdefault(module, _Call(len(self._open), shape))
        self._open.append((module, macs_of(self._counter)))
        self._maps.enter(module)

    def _leave(self, module: nn.Module, _: Sequence[Any], output: Any) -> None:
        if not self._open or self._open[-1][0] is not module:
            return  # a hook of the model's own raised before ours was reached
        start = self._open.pop()[1]
        call = self._calls[module]
        call.count += 1
        call.macs += macs_of(self._counter) - start
        shape = _shape([output])
        self._maps.leave(module, shape)
        if call.count == 1:
            call.output_shape = shape
        if isinstance(module, CONVOLUTIONS):
            call.nodes += [part.grad_fn for part in tensors(output)]


class _Maps:
    """The last map that was put out, as long as it may be what a linear layer is given."""

    def __init__(self) -> None:
        self.before_linear: Shape | None = None
        self._last: Shape | None = None
        self._ranks: set[int] = set()

    def enter(self, module: nn.Module) -> None:
        """Take note of what a linear layer finds."""
        if isinstance(module, nn.Linear):
            self.before_linear = self._last

    def leave(self, module: nn.Module, shape: Shape | None) -> None:
        """Take note of what a module put out; weights on anything else end the map."""
        rank = len(shape or ())
        if isinstance(module, CONVOLUTIONS):
            self._ranks.add(rank)
        if shape and rank in self._ranks:
            self._last = shape if any(size > 1 for size in shape[1:]) else self._last
        elif isinstance(module, nn.Linear | nn.Embedding | nn.RNNBase):
            self._last = None


def _record(
    module: nn.Module, name: str, call: _Call, projections: frozenset[Node] | None
) -> LayerRecord:
    kernel = tuple(module.kernel_size) if isinstance(module, CONVOLUTIONS) else None
    return LayerRecord(
        name=name,
        kind=type(module).__name__,
        depth=call.depth,
        is_leaf=not any(True for _ in module.children()),
        calls=call.count,
        input_shape=call.input_shape,
        output_shape=call.output_shape,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        macs=call.macs,
        kernel=kernel,
        is_projection=None if kernel is None else _lies_in(call.nodes, projections),
    )


def _lies_in(nodes: Sequence[Node], projections: frozenset[Node] | None) -> bool | None:
    """Tell whether every call of a convolution is a projection; None where none can be told."""
    return None if projections is None else bool(nodes) and projections.issuperset(nodes)


def _shape(values: Sequence[Any]) -> Shape | None:
    """Return the shape of the first tensor, without the batch."""
    first = next(tensors(list(values)), None)
    return None if first is None else tuple(first.shape[1:])
