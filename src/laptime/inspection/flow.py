"""Which convolutions are projections: alone on one side of an addition, by the flow of tensors.

Names and classes are not asked, so that the rule holds for a model of the user's too. The flow is
autograd's graph of one forward pass (https://docs.pytorch.org/docs/stable/notes/autograd.html).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Set
from typing import Any

from torch import Tensor

Node = Any
"""A node of autograd's graph: an operation whose ``next_functions`` made what it was given."""

_ONE, _OTHER, _BOTH = 1, 2, 3


class Flow:
    """The operations between what a model was given and what it returned."""

    def __init__(self, outputs: Iterable[Tensor], given: Tensor) -> None:
        self._given = given
        roots = [output.grad_fn for output in outputs if output.grad_fn is not None]
        self._order = {node: place for place, node in enumerate(self._sorted(roots))}
        self._nodes = list(self._order)

    def __contains__(self, node: Node) -> bool:
        """Tell whether an operation has a part in what was returned."""
        return node in self._order

    @property
    def num_convolutions(self) -> int:
        """Convolutions among the operations, those of modules and of functions."""
        return sum(type(node).__name__.startswith("ConvolutionBackward") for node in self._nodes)

    def projections(self, convolutions: Set[Node]) -> frozenset[Node]:
        """Return the convolutions that are alone on one side of an addition.

        The other side has two or more, and both sides begin at the same tensor: a shortcut that
        changes the shape (He et al. 2015, section 3.3, option B).
        """
        if not convolutions:
            return frozenset()
        additions = [n for n in self._nodes if type(n).__name__.startswith("AddBackward")]
        return frozenset(
            node for addition in additions for node in self._alone(addition, convolutions)
        )

    def _alone(self, addition: Node, convolutions: Set[Node]) -> list[Node]:
        """Return the one convolution of a side of an addition, if it is a projection.

        Goes back from both sides, latest operation first, until only what both come from is left:
        an operation is met after everything that uses it, so its label is then complete.
        """
        sides = self._sources(addition)
        if len(sides) != 2:
            return []
        labels: dict[int, int] = {}
        for side, label in zip(sides, (_ONE, _OTHER), strict=True):
            labels[self._order[side]] = labels.get(self._order[side], 0) | label
        waiting = [-place for place in labels]
        heapq.heapify(waiting)
        own: dict[int, list[Node]] = {_ONE: [], _OTHER: []}
        while any(labels[-place] != _BOTH for place in waiting):
            place = -heapq.heappop(waiting)
            label, node = labels[place], self._nodes[place]
            if label != _BOTH and node in convolutions:
                own[label].append(node)
            for source in map(self._order.__getitem__, self._sources(node)):
                if source not in labels:
                    heapq.heappush(waiting, -source)
                labels[source] = labels.get(source, 0) | label
        few, many = sorted(own.values(), key=len)
        begins_together = _BOTH in labels.values()
        return few if begins_together and len(few) == 1 < len(many) else []

    def _sources(self, node: Node) -> list[Node]:
        """Return the operations that made what one was given; parameters come from nowhere."""
        made = [before for before, _ in node.next_functions if before is not None]
        return [n for n in made if not hasattr(n, "variable") or n.variable is self._given]

    def _sorted(self, roots: list[Node]) -> list[Node]:
        """Return some operations and all that they come from, each after what it comes from."""
        done: dict[Node, None] = {}
        seen: set[Node] = set()
        waiting = [(root, False) for root in roots]
        while waiting:
            node, is_left = waiting.pop()
            if is_left:
                done[node] = None
            elif node not in seen:
                seen.add(node)
                waiting.append((node, True))
                waiting += [(source, False) for source in self._sources(node)]
        return list(done)
