"""Steps that look alike, to be followed all at once.

The notes of a training repeat: hundreds of steps with the same boundaries in the same order. Once
one of them has been followed it is known which phase each boundary begins; what the others took
are sums over columns of their notes.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, List, Optional

WIDTH = 3
"""Entries of a note: a method of the recorder, when, and with what."""

_PLAIN = frozenset((
    "fetching", "fetched", "root_called", "backward_started", "backward_ended",
    "optimizer_started", "optimizer_ended", "begin", "end",
))  # fmt: skip
"""What a step may consist of, to be followed with others."""

_DIFFER = frozenset(("fetched", "backward_started"))
"""Whose arguments differ from step to step: samples and losses."""


class Alike:
    """Steps in a row with the same boundaries, each from its fetch to the next one's."""

    def __init__(self, entries: List[Any], start: int, width: int, stop: int) -> None:
        self.start, self.width, self.stop = start, width, stop
        """Of entries; ``width`` of one step."""
        self._entries = entries

    def after_first(self, full_ns: int) -> Alike:
        """Return the steps but the first, up to the one that ends at some time or later."""
        start = self.start + self.width
        ends = self._entries[start + self.width - WIDTH + 1 : self.stop : self.width]
        steps = min(bisect_left(ends, full_ns) + 1, len(ends))
        return Alike(self._entries, start, self.width, start + steps * self.width)

    def times(self) -> List[List[int]]:
        """Return, for each boundary of a step, when it was in each of the steps."""
        return [self._column(place + 1) for place in range(0, self.width, WIDTH)]

    def arguments(self, name: str, which: int) -> List[List[Any]]:
        """Return, for each step, an argument of its boundaries of a name."""
        columns = [
            [given[which] for given in self._column(place + 2)]
            for place in range(0, self.width, WIDTH)
            if self._entries[self.start + place].__name__ == name
        ]
        return [list(of_step) for of_step in zip(*columns)]

    def _column(self, place: int) -> List[Any]:
        return self._entries[self.start + place : self.stop : self.width]


def find_alike(entries: List[Any], start: int) -> Optional[Alike]:
    """Return the steps that begin at an entry, a fetch; None where they are not plain or alone."""
    width = _width_of_step(entries, start)
    boundaries = entries[start : start + width : WIDTH]
    if not _are_plain([what.__name__ for what in boundaries]):
        return None
    stop = start + width
    while entries[stop : stop + width : WIDTH] == boundaries:
        stop += width
    steps = Alike(entries, start, width, stop)
    return steps if stop > start + width and _same_arguments(entries, steps) else None


def _width_of_step(entries: List[Any], start: int) -> int:
    """Return how many entries there are up to the next fetch; all that are left without one."""
    boundaries = entries[start::WIDTH]
    try:
        return boundaries.index(boundaries[0], 1) * WIDTH
    except ValueError:
        return len(boundaries) * WIDTH


def _are_plain(names: List[str]) -> bool:
    """Tell a step that an optimizer ends, none of whose updates holds anything else."""
    updates = [i for i, name in enumerate(names) if name == "optimizer_started"]
    return (
        _PLAIN.issuperset(names)
        and bool(updates)
        and names.count("optimizer_ended") == len(updates)
        and all(names[i + 1] == "optimizer_ended" for i in updates)
    )


def _same_arguments(entries: List[Any], steps: Alike) -> bool:
    for place in range(steps.start, steps.start + steps.width, WIDTH):
        if entries[place].__name__ not in _DIFFER:
            given = entries[place + 2 : steps.stop : steps.width]
            if given.count(given[0]) != len(given):
                return False
    return True
