"""What hooks talk to: whose thread is followed, and whether at once or later."""

from __future__ import annotations

import threading
from typing import Any, Callable, List, Optional

from laptime.attach.backlog import PERIOD_NS, Backlog, Note, note_ns
from laptime.attach.ledger import After, ScriptLedger
from laptime.phase import Phase
from laptime.timing.clock import ReadNs
from laptime.timing.windows import HostTimer, StepTimer, WindowPolicy

POLICY = WindowPolicy(min_ns=PERIOD_NS, min_steps=1)
"""Of windows on a host; those on a device synchronise at their edges and stay longer."""

Enter = Callable[[Any], Any]


class Listener:
    """Listen to hooks.

    A hook calls ``tell`` with a method, the time and arguments. That may be followed later: who
    reads or changes the recorder itself calls :meth:`catch_up` before.
    """

    def __init__(self, clock: ReadNs) -> None:
        self.ledger = ScriptLedger(clock)
        self.timer: StepTimer = HostTimer(self.ledger, POLICY)
        self.enter: Enter = self.ledger.enter
        self.is_held = False
        """Whether everything belongs to an evaluation."""
        self._left: List[Any] = []
        """Phases to return to, the innermost last."""
        self._clock, self._backlog = clock, Backlog(self, clock)
        self.tell: Callable[[Note], None] = self._backlog.apply
        self.due_ns = 0
        """When to catch up."""
        self.may_wait = False
        """Whether what hooks see may be followed later: nobody acts on it between two steps."""
        self.thread = threading.get_ident()
        self._rests = False
        self.at_boundary: Optional[Callable[[], None]] = None
        """Called between two steps: where a script can stand still, or end."""
        self.before_pass: Callable[[], None] = _nothing
        """Called when a loader begins: what is trained exists by then."""
        self.first_step: Callable[[Any], None] = _nothing_with
        """Called with the facts of an optimizer at its first step."""
        self.around_root: Any = None
        """Calls a root in another way: an override; None: as it is."""
        self.non_blocking = False
        self.root_depth = 0
        """Kept by hooks: only the outermost call of a root is told."""
        self.knows_backward = False
        """Whether the place of ``backward`` is known; kept by its hook."""

    @property
    def can_wait(self) -> bool:
        """Whether nothing is going on that must be followed at once."""
        return True

    @property
    def has_trained(self) -> bool:
        """Whether an epoch has begun."""
        return False

    def catch_up(self) -> None:
        """Follow what hooks have noted, and choose whether they go on noting."""
        self._backlog.follow()
        self.due_ns = self._clock() + PERIOD_NS
        waits = self.may_wait and self.can_wait
        self.tell = self._backlog.note if waits else self._backlog.apply

    def follow_at_once(self) -> None:
        """Follow everything when it happens, from here on."""
        self.may_wait = False
        self.catch_up()

    def use_timer(self, timer: StepTimer) -> None:
        """Time with events from here on: the model is on a device that has them."""
        self.follow_at_once()
        self.timer = timer
        if not self.is_held:
            self.enter = timer.enter

    def rest(self) -> None:
        """Follow no thread, until a recorder is made anew."""
        self.follow_at_once()
        self.thread, self._rests = 0, True

    def moves_to_this_thread(self) -> bool:
        """Follow the thread that calls, unless training was seen in another: tell whether."""
        if not self.has_trained and not self._rests:
            self.catch_up()
            if not self.has_trained:
                self.thread = threading.get_ident()
        return self.thread == threading.get_ident()

    def own_ns(self, notes: int) -> int:
        """Return what it has cost to note so much and to follow it, at least."""
        return self._backlog.spent_ns + round(notes * note_ns(self._clock))

    # What may happen anywhere

    def begin(self, phase: Phase) -> None:
        """Begin something that belongs to a phase, wherever it is called."""
        self._left.append(self.enter(phase))

    def end(self, after: Optional[After] = None) -> None:
        """End it: return to what was left, or to ``other`` after it."""
        left = self._left.pop() if self._left else After.OPTIMIZER
        self.enter(after if after is not None and type(left) is After else left)

    def saving(self) -> None:
        """Begin to write a checkpoint, of its own even in an evaluation."""
        enter: Enter = self.ledger.enter if self.is_held else self.enter
        self._left.append(enter(Phase.CHECKPOINT))

    def saved(self) -> None:
        """End what :meth:`saving` began."""
        left = self._left.pop() if self._left else After.CHECKPOINT
        enter: Enter = self.ledger.enter if self.is_held else self.enter
        enter(After.CHECKPOINT if type(left) is After else left)


def _nothing() -> None:
    """Do nothing."""


def _nothing_with(facts: Any) -> None:
    """Do nothing."""
