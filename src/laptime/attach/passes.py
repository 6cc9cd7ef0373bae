"""Passes over loaders, and which of them are epochs.

A pass is training once an optimizer steps in it; a pass that ends without a step was an
evaluation. Which of the two is known only later, so a pass keeps the reading of the clock it
began at. Passes may be live at the same time: an evaluation in the middle of an epoch, or two
loaders that are read side by side, of which the first is the epoch's.
"""

from __future__ import annotations

import weakref
from enum import Enum
from typing import Any, Callable, List, Optional

from laptime.attach.ledger import Snapshot


class Role(Enum):
    """What a pass over a loader is for."""

    UNKNOWN = "unknown"
    TRAINING = "training"
    EVALUATION = "evaluation"
    COMPANION = "companion"
    """Read beside the pass that counts: its steps are that one's."""


class Pass:
    """One pass over a loader, from before ``iter()``."""

    __slots__ = (
        "_iterator", "began", "end", "fetched", "first_fetch", "is_exhausted", "is_over",
        "last_fetch", "loader", "place", "role", "samples", "start",
    )  # fmt: skip

    def __init__(self, loader: int, start: Snapshot, place: Any = None) -> None:
        self.loader = loader
        self.start = start
        self.end: Optional[Snapshot] = None
        self.place = place
        self.role = Role.UNKNOWN
        self.fetched = 0
        self.began = self.first_fetch = self.last_fetch = 0
        """When, in fetches of the process: before its ``iter()``, and its own."""
        self.samples: Optional[int] = 0
        """In its batches so far; None once one was not known."""
        self.is_exhausted = False
        self.is_over = False
        """Whether no more batches can come of it: exhausted, or let go by the script."""
        self._iterator: Any = None

    def bind(self, iterator: Any, let_go: Callable[[], None]) -> None:
        """Know the iterator, as long as the script keeps it."""
        self._iterator = weakref.ref(iterator, lambda _gone: let_go())

    @property
    def iterator(self) -> Any:
        """The iterator; None before there is one and when the script has let it go."""
        return self._iterator and self._iterator()


class Passes:
    """The passes that are not settled yet, the outermost first."""

    def __init__(self) -> None:
        self.open: List[Pass] = []
        self.has_unknown = False
        """Whether there is a pass whose role is not known yet; looked at in every step."""
        self.is_training = False
        """Whether there is a pass that the current epoch is, and that may go on."""
        self._fetches = 0

    def begin(self, one: Pass) -> None:
        """Add a pass, begun within those that go on."""
        one.began = self._fetches
        self.open.append(one)
        self._look()

    def fetched(self, one: Pass) -> None:
        """A pass has given a batch."""
        self._fetches += 1
        one.last_fetch = self._fetches
        if not one.fetched:
            one.first_fetch = self._fetches
        one.fetched += 1

    def ended(self, one: Pass) -> None:
        """No more batches can come of a pass."""
        one.is_over = True
        self._look()

    def left_for(self, loader: int) -> List[Pass]:
        """Return the passes that are over because a loader begins; they are removed.

        A loader that is begun again has left its pass before, and all that was begun within.
        """
        again = [i for i, known in enumerate(self.open) if known.loader == loader]
        first = again[0] if again else len(self.open)
        return self._remove(
            [one for i, one in enumerate(self.open) if i >= first or one.is_over]
        )  # fmt: skip

    def over_within(self, one: Pass) -> List[Pass]:
        """Return the passes begun within one that are over without a step; they are removed."""
        return self._remove([
            p for p in self._within(one) if p.role is Role.UNKNOWN and p.is_over
        ])  # fmt: skip

    def evaluations_within(self, one: Pass) -> List[Pass]:
        """Return the evaluations that are left because an outer pass goes on; they are removed."""
        return self._remove([p for p in self._within(one) if p.role is Role.EVALUATION])

    def close(self) -> List[Pass]:
        """Return all passes: the script is at its end."""
        return self._remove(self.open)

    def drop(self, one: Pass) -> None:
        """Remove a pass."""
        self._remove([one])

    @property
    def evaluation(self) -> Optional[Pass]:
        """The evaluation that goes on."""
        return next((p for p in self.open if p.role is Role.EVALUATION), None)

    def stepped(self) -> Optional[Pass]:
        """Take note of an optimizer's step; return the pass that turns out to be an epoch.

        Several unknown ones that give batches are read side by side: the first to give one is the
        epoch's, the others are its companions. Within an epoch all of them are.
        """
        beside = sorted(self._read_side_by_side(), key=lambda one: one.first_fetch)
        for one in beside:
            one.role = Role.COMPANION
        if beside and not self.is_training:
            beside[0].role = Role.TRAINING
        self._look()
        return beside[0] if beside and beside[0].role is Role.TRAINING else None

    def left_behind(self) -> List[Pass]:
        """Return unknown passes that gave nothing since a later one did; they are removed."""
        beside = self._read_side_by_side()
        left = [one for one in self._unknown() if one not in beside]
        for one in left:  # it ended, at the latest, when the next pass began
            later = self._within(one)
            one.end = one.end or (later[0].start if later else None)
        return self._remove(left)

    def _read_side_by_side(self) -> List[Pass]:
        unknown = self._unknown()
        latest = max((one.began for one in unknown if one.fetched), default=-1)
        return [one for one in unknown if one.last_fetch > latest]

    def _unknown(self) -> List[Pass]:
        return [one for one in self.open if one.role is Role.UNKNOWN]

    def since(self, end: Snapshot) -> List[Snapshot]:
        """Return the readings that open passes keep and that were taken at one or after it."""
        kept = {id(s): s for one in self.open for s in (one.start, one.end) if s is not None}
        return [snapshot for snapshot in kept.values() if snapshot.at_ns >= end.at_ns]

    def evaluating(self) -> Optional[Pass]:
        """Take note that the model is asked for answers only; return what is an evaluation now."""
        unknown = self._unknown()
        for place, one in enumerate(unknown):
            one.role = Role.COMPANION if place else Role.EVALUATION
        self._look()
        return unknown[0] if unknown else None

    def misjudged(self, one: Pass, now: Snapshot) -> None:
        """What was taken for an evaluation computes gradients: from here on it may be an epoch."""
        one.role, one.start, one.end = Role.UNKNOWN, now, None
        if one.is_over:  # what it read is the evaluation's; what follows is no part of it
            self.drop(one)
        self._look()

    def _within(self, one: Pass) -> List[Pass]:
        return self.open[self.open.index(one) + 1 :] if one in self.open else []

    def _remove(self, gone: List[Pass]) -> List[Pass]:
        self.open = [one for one in self.open if one not in gone]
        self._look()
        return gone

    def _look(self) -> None:
        roles = {one.role for one in self.open}
        self.has_unknown = Role.UNKNOWN in roles
        self.is_training = any(
            one.role is Role.TRAINING and not one.is_over for one in self.open
        )  # fmt: skip
