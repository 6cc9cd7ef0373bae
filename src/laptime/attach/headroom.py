"""What perfect loading would save: steps on the script's batches beside steps on kept ones.

Stretches take turns. In a replayed one ``next()`` gives copies of batches that are in memory, and
the loader's workers stand still: they use no core, and lose nothing. Its steps and its time are
left out of the script's own record.
"""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from laptime.attach.book import Book
from laptime.attach.ledger import ScriptLedger, Snapshot, between
from laptime.attach.passes import Pass, Role
from laptime.attach.replay import MOST_BYTES, Shelf, Standstill
from laptime.phase import Phase
from laptime.timing.clock import device_wait, read_ns
from laptime.timing.windows import StepTimer

WARM_UP_STEPS = 10

LEFT_OUT = (
    Phase.LOADER_START,
    Phase.LOADER_END,
    Phase.EVALUATION,
    Phase.CHECKPOINT,
    Phase.LOGGING,
)
"""What a stretch's time is without: it comes once an epoch, or is ours."""

_DEADLINE_S, _DEADLINE_STRETCHES = 30.0, 3.0
"""Workers stand still for no longer than this, or so many times the last stretch."""

Counts = Dict[str, int]


class Policy(NamedTuple):
    """How long a stretch is at least, and how many pairs of them are enough."""

    min_steps: int = 10
    min_ns: int = 300_000_000
    min_pairs: int = 5
    most_pairs: int = 10
    enough_ns: int = 15_000_000_000
    """From so much counted time on the fewest pairs are enough."""


TOGETHER = Policy(min_steps=20, min_ns=0, most_pairs=5)
"""For processes that train together: steps alone say when, so that all of them do the same."""


class Mark(NamedTuple):
    """A boundary between two steps."""

    at: Snapshot
    steps: int


class OwnBook(Book):
    """A book of the script's own steps: those on replayed batches are no part of it."""

    is_replaying = False

    def end_step(self, timer: StepTimer) -> bool:
        """Count a step, unless its batch was replayed; return whether the window is full."""
        if not self.is_replaying:
            return super().end_step(timer)
        self._losses, self._samples = [], 0
        return False


class Headroom:
    """Lets stretches take turns, from step to step; begins when the training is warm."""

    def __init__(self, recorder: Any, policy: Policy = Policy(), still: Any = None) -> None:
        self._recorder, self._policy = recorder, policy
        self._still = still or Standstill()
        self._wait: Optional[Callable[[], None]] = None
        self._shelves: Dict[int, Shelf] = {}
        self._has_begun = self._gave_up = self._is_cut = False
        self._count = self._skip = 0
        self._replays = False
        """Whether the stretch that goes on is one of replayed batches."""
        self._from: Optional[Mark] = None
        self._last: Optional[Mark] = None
        self._replayed_from: Optional[Snapshot] = None
        self._given: Dict[int, Tuple[Pass, int, int]] = {}
        """Passes in which batches were replayed: how many are over, and how many just now."""
        self._steps = self._wall_ns = 0
        self._loaded: List[Counts] = []
        self._replayed: List[Counts] = []

    def hook(self) -> None:
        """Stand between loaders and the script; call it before loaders are followed."""
        from torch.utils.data import dataloader as torch_loader

        iterator_class: Any = torch_loader._BaseDataLoaderIter
        next_of, give = iterator_class.__next__, self.give

        @functools.wraps(next_of)
        def __next__(self: Any) -> Any:  # noqa: N807 - it replaces one
            return give(self, next_of)

        iterator_class.__next__ = __next__
        workers_class: Any = torch_loader._MultiProcessingDataLoaderIter
        shut_down, let_go = workers_class._shutdown_workers, self._let_workers_go

        @functools.wraps(shut_down)
        def _shutdown_workers(self: Any) -> None:
            let_go()  # who stands still cannot be asked to end
            shut_down(self)

        workers_class._shutdown_workers = _shutdown_workers

    def listen(self) -> None:
        """Be told, by the recorder, when a loader begins."""
        before_pass = self._recorder.before_pass

        def begins() -> None:
            if threading.get_ident() == self._recorder.thread:
                self._is_cut = True
                self._end_replay()
            before_pass()

        self._recorder.before_pass = begins

    # Batches

    def give(self, iterator: Any, original: Callable[[Any], Any]) -> Any:
        """Return the next batch of an iterator: its own, or one that is kept."""
        one: Optional[Pass] = iterator.__dict__.get("_laptime_pass")
        if one is None or not self._is_trained_on(one):
            return original(iterator)
        if self._is_cut:  # the step that was replayed last has been committed by now
            self._own_book().is_replaying = False
        if self._is_through(one):
            self._cut_at_end()
            raise StopIteration
        shelf = self._shelves.get(one.loader)
        if self._replayed_from is not None and shelf:
            return self._give_again(one, shelf)
        try:
            batch = original(iterator)
        except StopIteration:
            self._cut_at_end()
            raise
        if not self._has_begun and not self._gave_up:
            self._keep(one, iterator, batch)
        return batch

    def _is_trained_on(self, one: Pass) -> bool:
        is_ours = one.role is Role.TRAINING or one.role is Role.COMPANION
        return is_ours and threading.get_ident() == self._recorder.thread

    def _is_through(self, one: Pass) -> bool:
        """Tell whether a pass has given as many batches as it would have without us."""
        batches = self._recorder.book.found.loader(one.loader)["batches"]
        if id(one) not in self._given or batches is None:
            return False
        _, over, _ = self._given[id(one)]
        return one.fetched + over >= int(batches)

    def _cut_at_end(self) -> None:
        self._is_cut = True
        if self._replayed_from is not None:
            self._end_replay()
            self._own_book().is_replaying = False

    def _give_again(self, one: Pass, shelf: Shelf) -> Any:
        _, over, now = self._given.get(id(one), (one, 0, 0))
        self._given[id(one)] = one, over, now + 1
        if self._is_on_device():  # the device works meanwhile: to leave it out would be too much
            return shelf.give()
        return self._ours(shelf.give)

    def _keep(self, one: Pass, iterator: Any, batch: Any) -> None:
        batches = self._recorder.book.found.loader(one.loader)["batches"]
        if batches is not None and one.fetched + 1 >= batches:
            return  # the last one may be short
        if one.loader not in self._shelves:
            is_pinned = bool(getattr(iterator, "_pin_memory", False))
            self._shelves[one.loader] = Shelf(is_pinned=is_pinned)
        shelf = self._shelves[one.loader]
        others = sum(known.kept_bytes for known in self._shelves.values() if known is not shelf)
        self._ours(lambda: shelf.keep(batch, MOST_BYTES - others))

    def _ours(self, work: Callable[[], Any]) -> Any:
        """Do something in time that is ours."""
        left = self._recorder.enter(Phase.LOGGING)
        try:
            return work()
        finally:
            self._recorder.enter(left)

    # Steps

    def stepped(self) -> bool:
        """Take note of a step's end; return whether more steps are needed."""
        self._count += 1
        if self._gave_up:
            return True
        if not self._has_begun:
            self._begin_when_warm()
            return True
        if self._is_cut or self._still.was_late:
            self._leave_segment()
        elif self._from is not None:
            self._look(self._from, self._mark())
        else:
            self._skip -= 1
            if self._skip <= 0:
                self._arrive()
        self._last = self._mark()
        return not self._is_enough()

    def close(self) -> None:
        """Let everything go on, and say what could not be measured."""
        self._end_replay()
        found, pairs = self._recorder.book.found, len(self._replayed)
        if pairs >= self._policy.min_pairs or self._gave_up:
            return
        if pairs:
            found.note(f"--headroom: too few steps for more than {pairs} pairs of stretches.")
        elif not self._shelves:
            found.note("--headroom: no DataLoader was trained on, so nothing could be replayed.")
        else:
            found.note(
                "--headroom: too few steps. A stretch is at least "
                f"{self._policy.min_steps} steps and {self._policy.min_ns / 1e9:.1f} s, not "
                "counting the first batches of a pass."
            )

    def _begin_when_warm(self) -> None:
        passes = self._passes()
        if self._count < WARM_UP_STEPS or not passes:
            return
        shelves = [self._shelves.get(one.loader) for one in passes]
        refused = [shelf.refused for shelf in shelves if shelf is not None and shelf.refused]
        found = self._recorder.book.found
        if refused:
            self._gave_up = True
            found.note(f"--headroom: {refused[0]}, so nothing could be replayed.")
        elif all(shelves):
            self._has_begun, self._is_cut = True, False
            self._wait = device_wait(found.device)
            if _processes_that_train_together() > 1:
                self._policy = TOGETHER
            self._skip = self._lead()
            found.note(
                f"--headroom: after step {self._recorder.book.steps} some batches were replayed "
                "between the script's own: losses after it are not those of the script alone."
            )

    def _is_enough(self) -> bool:
        policy, pairs = self._policy, len(self._replayed)
        if self._still.was_late:
            self._recorder.book.found.note(
                "--headroom: a replayed step stood still until the loader's workers went on."
            )
            self._gave_up = not pairs
            return bool(pairs)
        counted_ns = sum(one["wall_ns"] for one in self._loaded + self._replayed)
        is_long = pairs >= policy.min_pairs and counted_ns >= policy.enough_ns
        return is_long or pairs >= policy.most_pairs

    def _look(self, since: Mark, now: Mark) -> None:
        """End the stretch here, if it is long enough."""
        steps = now.steps - since.steps
        if self._steps + steps < self._policy.min_steps:
            return
        if not self._replays and steps % self._num_workers():
            return  # batches come in bursts of one a worker
        if self._wall_ns + _spent_ns(since, now) < self._policy.min_ns:
            return
        self._add(since, now, self._drained_ns())
        stretch = {"steps": self._steps, "wall_ns": self._wall_ns}
        self._steps = self._wall_ns = 0
        self._from = None
        (self._replayed if self._replays else self._loaded).append(stretch)
        if self._replays:
            self._end_replay()
            self._own_book().is_replaying = False
            self._skip = self._lead()
            self._write_pairs()
        else:
            self._begin_replay()
        self._replays = not self._replays

    def _leave_segment(self) -> None:
        """A pass has begun or ended: go on counting after the first batches that follow."""
        self._is_cut = False
        if self._from is not None and self._last is not None and not self._is_on_device():
            self._add(self._from, self._last)
        self._from = None
        self._end_replay()
        self._own_book().is_replaying = False
        self._skip = self._lead()

    def _arrive(self) -> None:
        """The steps that are not counted are over."""
        if self._replays and self._replayed_from is None:
            self._begin_replay()
            return
        if self._wait is not None:
            self._wait()
        self._recorder.enter(Phase.LOGGING)
        self._from = self._mark()

    def _add(self, since: Mark, until: Mark, drained_ns: int = 0) -> None:
        self._steps += until.steps - since.steps
        self._wall_ns += _spent_ns(since, until) + drained_ns

    def _write_pairs(self) -> None:
        pairs = len(self._replayed)
        self._recorder.book.found.headroom = {
            "batches": sum(len(shelf) for shelf in self._shelves.values()),
            "loaded": self._loaded[:pairs],
            "replayed": list(self._replayed),
        }

    # Replays

    def _begin_replay(self) -> None:
        recorder = self._recorder
        if self._is_on_device():  # its window must not hold what is replayed
            recorder.book.cut_window(recorder.timer)
        self._replayed_from = recorder.ledger.snapshot()
        last_s = self._loaded[-1]["wall_ns"] / 1e9 if self._loaded else 0.0
        self._still.stop(self._worker_pids(), max(_DEADLINE_S, _DEADLINE_STRETCHES * last_s))
        self._own_book().is_replaying = True
        self._skip = 1

    def _end_replay(self) -> None:
        """Let the workers go on, and take what was replayed out of the script's time.

        The step that was replayed last may not be committed yet: the book waits for that.
        """
        start, self._replayed_from = self._replayed_from, None
        self._still.resume()
        if start is None:
            return
        recorder = self._recorder
        if self._is_on_device():
            recorder.timer.close_window()
        left = recorder.enter(Phase.LOGGING)
        _take_out(recorder.ledger, start, recorder.ledger.snapshot())
        recorder.enter(left)
        for key, (one, over, now) in self._given.items():
            one.fetched -= now
            one.is_exhausted = False
            self._given[key] = one, over + now, 0

    def _let_workers_go(self) -> None:
        if self._still.is_on:
            self._still.resume()
            self._is_cut = True

    # What there is

    def _mark(self) -> Mark:
        return Mark(self._recorder.ledger.snapshot(), self._count)

    def _own_book(self) -> Any:
        return self._recorder.book

    def _is_on_device(self) -> bool:
        return bool(self._recorder.book.found.device != "cpu")

    def _drained_ns(self) -> int:
        """Wait for the device; return what that took: it is the stretch's time."""
        if self._wait is None or not self._is_on_device():
            return 0
        start_ns = read_ns()
        self._wait()
        return read_ns() - start_ns

    def _passes(self) -> List[Pass]:
        return [one for one in self._recorder.passes.open if self._is_trained_on(one)]

    def _worker_pids(self) -> List[int]:
        workers = [w for one in self._passes() for w in getattr(one.iterator, "_workers", ())]
        return [worker.pid for worker in workers if worker.pid is not None and worker.is_alive()]

    def _num_workers(self) -> int:
        loader = self._recorder.book.found.loader
        return max([1, *(loader(one.loader)["num_workers"] for one in self._passes())])

    def _lead(self) -> int:
        """Return how many steps pass until what was fetched ahead is used up."""
        loader = self._recorder.book.found.loader
        rows = [loader(one.loader) for one in self._passes()]
        ahead = [row["num_workers"] * (row["prefetch_factor"] or 2) for row in rows]
        return max([1, *ahead])


def _spent_ns(since: Mark, until: Mark) -> int:
    spent_ns = between(since.at, until.at)
    return sum(ns for phase, ns in spent_ns.items() if phase not in LEFT_OUT)


def _take_out(ledger: ScriptLedger, start: Snapshot, end: Snapshot) -> None:
    """Let a ledger forget all that it charged between two readings."""
    for key, spent_ns in end.spent_ns.items():
        ledger._spent_ns[key] -= spent_ns - start.spent_ns[key]


def _processes_that_train_together() -> int:
    import torch

    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return 1
    return int(distributed.get_world_size())
