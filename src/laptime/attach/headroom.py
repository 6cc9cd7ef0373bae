"""What perfect loading would save: steps on the script's own batches beside steps on kept ones.

Stretches of both take turns, from the moment the training is warm. A stretch may be made of
several pieces: the first batches of a pass, and the first after workers stood still, are not
counted, because they were made ahead.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

from laptime.attach.ledger import Snapshot, between
from laptime.attach.replay import Replay
from laptime.attach.standstill import Standstill
from laptime.phase import Phase
from laptime.timing.clock import CudaClock

WARM_UP_STEPS = 10

LEFT_OUT = (
    Phase.LOADER_START,
    Phase.LOADER_END,
    Phase.EVALUATION,
    Phase.CHECKPOINT,
    Phase.LOGGING,
)
"""What a stretch's time is without: it comes once an epoch, or is ours."""

_MOST_S, _MOST_STRETCHES = 30.0, 3.0
"""Workers stand still for so long at most, or for so many times the last stretch."""


class Policy(NamedTuple):
    """How long a stretch is at least, and how many pairs of them are enough."""

    min_steps: int = 10
    min_ns: int = 300_000_000
    min_pairs: int = 5
    most_pairs: int = 10
    enough_ns: int = 15_000_000_000
    """From so much counted time on the fewest pairs are enough."""


ALONE = Policy()
TOGETHER = Policy(min_steps=20, min_ns=0, most_pairs=5)
"""For processes that train together: only steps say when, so that all of them do the same."""


class Mark(NamedTuple):
    """A boundary between two steps."""

    at: Snapshot
    steps: int


class Headroom:
    """Lets stretches take turns; every method is called between two steps of the script."""

    def __init__(self, recorder: Any, policy: Policy = ALONE, still: Any = None) -> None:
        self._recorder, self._policy = recorder, policy
        self._still = still or Standstill()
        self.replay = Replay(recorder, self._still)
        self._clock: Any = None
        """Of the device, which works at its own pace; None on a CPU."""
        self._begun: Any = None
        self._has_begun = self._gave_up = self._has_replayed = False
        self._count = self._uncounted = 0
        self._is_replayed = False
        """Whether the stretch that goes on is one of replayed batches."""
        self._from: Optional[Mark] = None
        self._last: Optional[Mark] = None
        self._steps = self._wall_ns = 0
        self._loaded: List[Dict[str, int]] = []
        self._replayed: List[Dict[str, int]] = []

    def stepped(self) -> bool:
        """Take note of a step's end; return whether more steps are needed."""
        self._count += 1
        if self._gave_up:
            return True
        if not self._has_begun:
            self._begin_when_warm()
            return True
        if self.replay.was_cut or self._still.was_late:
            self._leave_piece()
        elif self._from is not None:
            self._look(self._from, self._mark())
        else:
            self._uncounted -= 1
            if self._uncounted <= 0:
                self._arrive()
        self._last = self._mark()
        return not self._is_done()

    def forked(self) -> None:
        """In a child: forget what the parent measures."""
        replay = self.replay
        self.__init__(self._recorder)  # type: ignore[misc]
        replay.__init__(self._recorder, self._still)  # type: ignore[misc]
        self.replay = replay

    def close(self) -> None:
        """Let everything go on, and say what could not be measured."""
        self.replay.close()
        pairs, policy = len(self._replayed), self._policy
        if pairs >= policy.min_pairs or self._gave_up:
            return
        if pairs:
            self._note(f"there were too few steps for more than {pairs} pairs of stretches.")
        elif not self.replay.shelves:
            self._note("no DataLoader was trained on, so nothing could be replayed.")
        else:
            self._note(
                f"there were too few steps. A stretch takes at least {policy.min_steps} of them "
                f"and {policy.min_ns / 1e9:.1f} s, without the first batches of a pass."
            )

    def _begin_when_warm(self) -> None:
        if self._count < WARM_UP_STEPS:
            return
        refused = [shelf.refused for shelf in self.replay.shelves.values() if shelf.refused]
        if refused:
            self.replay.is_keeping, self._gave_up = False, True
            self._note(f"{refused[0]}, so nothing could be replayed.")
        elif self.replay.is_ready:
            self._has_begun = True
            if self.replay.is_on_device:
                self._clock = CudaClock(self._recorder.book.found.device)
            self._uncounted = self._ahead()
            if _world_size() > 1:
                self._policy = TOGETHER

    def _is_done(self) -> bool:
        policy, pairs = self._policy, len(self._replayed)
        if self._still.was_late:
            self._note("the script waited for its loader's workers while they stood still.")
            self._gave_up = not pairs
            return bool(pairs)
        counted_ns = sum(one["wall_ns"] for one in self._loaded + self._replayed)
        is_long = pairs >= policy.min_pairs and counted_ns >= policy.enough_ns
        return is_long or pairs >= policy.most_pairs

    # Pieces of a stretch

    def _arrive(self) -> None:
        """The steps that are not counted are over."""
        if self._is_replayed and not self.replay.is_on:
            self._begin_replay()
            return
        self._recorder.enter(Phase.LOGGING)
        self._from = self._mark()
        if self._clock is not None:
            self._begun = self._clock.record()

    def _begin_replay(self) -> None:
        self._uncounted = 1
        if not self.replay.is_ready:  # a loader is new: its first batches are kept meanwhile
            return
        if not self._has_replayed:
            self._has_replayed = True
            self._note(
                f"after step {self._recorder.book.steps} some batches were replayed between the "
                "script's own: losses after it are not those of the script alone."
            )
        last_s = self._loaded[-1]["wall_ns"] / 1e9 if self._loaded else 0.0
        self.replay.begin(max(_MOST_S, _MOST_STRETCHES * last_s))

    def _look(self, since: Mark, now: Mark) -> None:
        """End the stretch here, if it is long enough."""
        steps = now.steps - since.steps
        if self._steps + steps < self._policy.min_steps:
            return
        if not self._is_replayed and steps % self._num_workers():
            return  # batches come in bursts of one a worker
        if self._wall_ns + _spent_ns(since, now) >= self._policy.min_ns:
            self._add(since, now)
            self._turn()

    def _turn(self) -> None:
        """Keep a stretch, and begin one of the other kind."""
        stretches = self._replayed if self._is_replayed else self._loaded
        stretches.append({"steps": self._steps, "wall_ns": self._wall_ns})
        self._steps = self._wall_ns = 0
        self._from = None
        if self._is_replayed:
            self._end_replay()
            self._keep_pairs()
        else:
            self._begin_replay()
        self._is_replayed = not self._is_replayed

    def _leave_piece(self) -> None:
        """Count up to the last boundary before a pass began or ended, and go on after it."""
        if self._from is not None and self._last is not None and self._clock is None:
            self._add(self._from, self._last)
        self._from = None
        self._end_replay()

    def _end_replay(self) -> None:
        self.replay.end()
        self.replay.was_cut = False
        self._uncounted = self._ahead()

    def _add(self, since: Mark, until: Mark) -> None:
        self._steps += until.steps - since.steps
        self._wall_ns += _spent_ns(since, until) if self._clock is None else self._on_device_ns()

    def _keep_pairs(self) -> None:
        self._recorder.book.found.headroom = {
            "batches": sum(len(shelf) for shelf in self.replay.shelves.values()),
            "loaded": self._loaded[: len(self._replayed)],
            "replayed": list(self._replayed),
        }

    # What there is

    def _mark(self) -> Mark:
        return Mark(self._recorder.ledger.snapshot(), self._count)

    def _note(self, text: str) -> None:
        self._recorder.book.found.note(f"--headroom: {text}")

    def _on_device_ns(self) -> int:
        """Return what the device took since the piece began: the host may be far ahead of it."""
        ended = self._clock.record()
        self._clock.wait()
        return int(self._begun.elapsed_ns(ended))

    def _loaders(self) -> List[Dict[str, Any]]:
        loader = self._recorder.book.found.loader
        return [loader(one.loader) for one in self.replay.passes()]

    def _num_workers(self) -> int:
        return max([1, *(int(row["num_workers"]) for row in self._loaders())])

    def _ahead(self) -> int:
        """Return how many batches the workers make ahead."""
        rows = self._loaders()
        return max([1, *(int(row["num_workers"]) * (row["prefetch_factor"] or 2) for row in rows)])


def _spent_ns(since: Mark, until: Mark) -> int:
    spent_ns = between(since.at, until.at)
    return sum(ns for phase, ns in spent_ns.items() if phase not in LEFT_OUT)


def _world_size() -> int:
    """Return how many processes train together with this one, itself included."""
    from torch import distributed

    is_alone = not distributed.is_available() or not distributed.is_initialized()
    return 1 if is_alone else int(distributed.get_world_size())
