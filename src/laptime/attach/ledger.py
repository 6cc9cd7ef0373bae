"""The ledger of a foreign script: what no boundary explains is kept by what it follows."""

from __future__ import annotations

from enum import Enum
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, cast

from laptime.phase import Phase
from laptime.timing.clock import ReadNs
from laptime.timing.ledger import HostLedger


class After(Enum):
    """What time in ``other`` follows; the ledger adds these up to that phase."""

    __hash__ = object.__hash__

    START = "start"
    LOADING = "loading"
    TRANSFER = "transfer"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    EVALUATION = "evaluation"
    CHECKPOINT = "checkpoint"


class Snapshot(NamedTuple):
    """A reading of the clock and what had been charged by then, down to the parts of other."""

    at_ns: int
    spent_ns: Dict[Any, int]


class ScriptLedger(HostLedger):
    """A host ledger whose phase ``other`` has parts, and that can be told better afterwards."""

    __slots__ = ()

    def __init__(self, read_ns: ReadNs) -> None:
        super().__init__(read_ns, cast("Phase", After.START))
        self._spent_ns.update(dict.fromkeys(cast("List[Phase]", list(After)), 0))

    def spent_ns(self) -> Dict[Phase, int]:
        """Return what each phase has been charged up to the last reading."""
        return folded(self._spent_ns)

    def read_from(self, read_ns: ReadNs) -> None:
        """Read another clock from here on, whose time goes on from the last reading."""
        self._read_ns = read_ns

    def charge(self, phases: Sequence[Any], times: Sequence[Sequence[int]]) -> None:
        """Charge steps that repeat the boundaries of the one that has just ended.

        Args:
            phases: Which phase each boundary of a step begins; the last one goes on now.
            times: When each boundary was: a sequence for each, with a time for each step.
        """
        if not times[0]:
            return
        sums = [sum(when) for when in times]
        for i, phase in enumerate(phases[:-1]):
            self._spent_ns[phase] += sums[i + 1] - sums[i]
        last_ns = times[-1][-1]
        self._spent_ns[phases[-1]] += sums[0] - (sums[-1] - last_ns) - self._since_ns
        self._since_ns = last_ns

    def snapshot(self) -> Snapshot:
        """Return the last reading, without another one."""
        return Snapshot(self.now_ns, dict(self._spent_ns))

    def reassign(
        self, start: Snapshot, end: Snapshot, phase: Phase, later: Iterable[Snapshot] = ()
    ) -> None:
        """Charge all that was charged between two readings to one phase instead.

        Args:
            start: The first reading.
            end: The second.
            phase: What all of it was.
            later: Readings taken since: they are told better as well.
        """
        moved = {key: spent - start.spent_ns[key] for key, spent in end.spent_ns.items()}
        for spent_ns in (self._spent_ns, *(snapshot.spent_ns for snapshot in later)):
            for key, part_ns in moved.items():
                spent_ns[key] -= part_ns
                spent_ns[phase] += part_ns


def folded(spent_ns: Mapping[Any, int]) -> Dict[Phase, int]:
    """Return times of phases and parts with the parts added to ``other``."""
    phases = {phase: spent_ns[phase] for phase in Phase}
    phases[Phase.OTHER] += sum(spent_ns[part] for part in After)
    return phases


def parts_between(start: Optional[Snapshot], end: Snapshot) -> Dict[str, int]:
    """Return the parts of ``other`` between two readings, by what they follow."""
    before = start.spent_ns if start else {}
    return {part.value: end.spent_ns[part] - before.get(part, 0) for part in After}


def between(start: Snapshot, end: Snapshot) -> Dict[Phase, int]:
    """Return what each phase was charged between two readings."""
    before, after = folded(start.spent_ns), folded(end.spent_ns)
    return {phase: after[phase] - before[phase] for phase in Phase}
