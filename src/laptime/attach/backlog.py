"""What hooks have seen and the recorder has not been told yet.

Code that runs once in a step finds nothing of its own in the processor's caches, where the model
has been since: there it takes several times as long as in a loop. So a hook only notes what
happened and when, and the recorder follows many steps at a time, by the clock of the notes.
"""

from __future__ import annotations

from typing import Any, Callable, List, Tuple

from laptime.attach.alike import WIDTH, find_alike
from laptime.phase import Phase
from laptime.timing.clock import ReadNs

PERIOD_NS = 500_000_000
"""How long notes may wait: what a script that is killed loses."""

NONE: Tuple[()] = ()

Note = Tuple[Callable[..., Any], int, Tuple[Any, ...]]
"""A method of the recorder, when it would have been called, and with what."""


class Backlog:
    """Notes in the order in which they were made: three entries each, in one list."""

    def __init__(self, recorder: Any, clock: ReadNs) -> None:
        self._recorder, self._clock = recorder, clock
        self._entries: List[Any] = []
        self._fetching = type(recorder).fetching
        self.note: Callable[[Note], None] = self._entries.extend
        self._at_ns = 0
        self.spent_ns = 0
        """What following took."""
        self._is_followed = False

    def apply(self, note: Note) -> None:
        """Tell the recorder at once, by its own clock."""
        what, _, args = note
        what(self._recorder, *args)

    def follow(self) -> None:
        """Tell the recorder all that has been noted, and charge what that takes to ``logging``."""
        if not self._entries or self._is_followed:
            return
        start_ns, ledger = self._clock(), self._recorder.ledger
        self.follow_without_charge()
        ledger.read_from(lambda: max(start_ns, ledger.now_ns))
        left = self._recorder.enter(Phase.LOGGING)
        ledger.read_from(self._clock)
        self._recorder.enter(left)
        self.spent_ns += self._clock() - start_ns

    def follow_without_charge(self) -> None:
        """Tell the recorder all that has been noted: the ledger stays at the last note."""
        ledger, self._is_followed = self._recorder.ledger, True
        ledger.read_from(lambda: self._at_ns)
        try:
            self._follow_all()
        finally:
            self._is_followed = False
            ledger.read_from(self._clock)

    def _follow_all(self) -> None:
        entries, recorder, i = self._entries, self._recorder, 0
        try:
            while i < len(entries):
                if entries[i] is self._fetching and recorder.is_steady(*entries[i + 2]):
                    i = self._follow_steps(i)
                else:
                    i = self._follow_one(i)
        except BaseException:
            i = len(entries)  # what was followed in part is not followed again
            raise
        finally:
            del entries[:i]

    def _follow_one(self, i: int) -> int:
        what, at_ns, args = self._entries[i : i + WIDTH]
        self._at_ns = max(at_ns, self._recorder.ledger.now_ns)  # signals are handled meanwhile
        what(self._recorder, *args)
        return i + WIDTH

    def _follow_steps(self, i: int) -> int:
        """Follow a step, and all that are like it as far as the window goes."""
        steps, recorder = find_alike(self._entries, i), self._recorder
        if steps is None:
            return self._follow_one(i)
        phases = []
        for place in range(i, i + steps.width, WIDTH):
            self._follow_one(place)
            phases.append(recorder.ledger.phase)
        full_ns = recorder.timer.full_ns
        if not recorder.is_steady(*self._entries[i + 2]) or recorder.ledger.now_ns >= full_ns:
            return i + steps.width
        rest = steps.after_first(full_ns)
        recorder.ledger.charge(phases, rest.times())
        samples, losses = rest.arguments("fetched", 1), rest.arguments("backward_started", 0)
        recorder.repeated(samples, losses)
        return rest.stop


def note_ns(clock: ReadNs, rounds: int = 2000) -> float:
    """Return what it takes to make a note here, warm: a lower bound of one in a step."""
    note, start_ns = Backlog(_Nobody(), clock).note, clock()
    for _ in range(rounds):
        note((_Nobody.fetching, clock(), NONE))
    return (clock() - start_ns) / rounds


class _Nobody:
    """Stands for a recorder that is told nothing."""

    def fetching(self) -> None:
        """Do nothing."""
