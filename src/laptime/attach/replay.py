"""Batches of the script's loaders given again, and its own record without them.

While batches are replayed the loaders' workers stand still: they use no core, and lose nothing.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from laptime.attach.book import Book
from laptime.attach.hooks.frames import leave_no_frame, stands_for
from laptime.attach.ledger import ScriptLedger, Snapshot
from laptime.attach.passes import Pass, Role
from laptime.attach.shelf import MOST_BYTES, Shelf
from laptime.phase import Phase
from laptime.timing.windows import StepTimer

OWN = object()
"""What is offered where nothing is replayed."""


class OwnBook(Book):
    """A book of the script's own steps: those on replayed batches are no part of it."""

    is_replaying = False

    def end_step(self, timer: StepTimer) -> bool:
        """Count a step, unless its batch was replayed; return whether the window is full."""
        if not self.is_replaying:
            return super().end_step(timer)
        self._losses, self._samples = [], 0
        return False

    def count_samples(self, one: Pass, length: Optional[int]) -> None:
        """Add the samples of a batch, unless it was replayed."""
        if not self.is_replaying:
            super().count_samples(one, length)


class Replay:
    """Stands between loaders and the script."""

    def __init__(self, recorder: Any, still: Any) -> None:
        self._recorder, self.still = recorder, still
        self.shelves: Dict[int, Shelf] = {}
        self.is_keeping = True
        """Whether batches of a loader are kept as long as there is room."""
        self.was_cut = False
        """Whether a pass has begun or ended, or workers were let go, since this was unset."""
        self._from: Optional[Snapshot] = None
        self._given: Dict[int, Tuple[Pass, int, int]] = {}
        """Passes in which batches were replayed: how many are over, and how many just now."""

    def hook(self) -> None:
        """Touch torch; call it before loaders are followed."""
        from torch.utils.data import dataloader as torch_loader

        iterator_class: Any = torch_loader._BaseDataLoaderIter
        next_of, offer, failed, took = iterator_class.__next__, self.offer, self._failed, self._took

        @stands_for(next_of)
        def __next__(self: Any) -> Any:  # noqa: N807 - it replaces one
            batch = offer(self)
            if batch is not OWN:
                return batch
            try:
                batch = next_of(self)
            except BaseException as error:
                leave_no_frame(error)
                failed(self, error)
                raise
            took(self, batch)
            return batch

        iterator_class.__next__ = __next__
        workers_class: Any = torch_loader._MultiProcessingDataLoaderIter
        shut_down, let_go = workers_class._shutdown_workers, self._let_workers_go

        @stands_for(shut_down)
        def _shutdown_workers(self: Any) -> None:
            let_go()  # who stands still cannot be asked to end
            shut_down(self)

        workers_class._shutdown_workers = _shutdown_workers

    def listen(self) -> None:
        """Be told, by the recorder, when a loader begins."""
        recorder, before_pass = self._recorder, self._recorder.before_pass

        def begins() -> None:
            if threading.get_ident() == recorder.thread:
                self.was_cut = True
                self._take_back()
                self._forget_ends()
            before_pass()

        recorder.before_pass = begins

    @property
    def is_on(self) -> bool:
        """Whether batches are replayed."""
        return self._from is not None

    @property
    def is_on_device(self) -> bool:
        """Whether the script trains on a device of its own pace."""
        return bool(self._recorder.book.found.device != "cpu")

    def begin(self, most_s: float) -> None:
        """Give kept batches from the next one on; workers stand still, for so long at most."""
        recorder = self._recorder
        if self.is_on_device:  # its window must not hold what is replayed
            recorder.book.cut_window(recorder.timer)
        self._from = recorder.ledger.snapshot()
        self.still.stop(self._worker_pids(), most_s)
        recorder.book.is_replaying = True

    def end(self) -> None:
        """Give the script's own batches from the next one on; call it between two steps."""
        self._take_back()
        self._recorder.book.is_replaying = False

    def close(self) -> None:
        """Let the workers go on: the script is at its end."""
        self._take_back()
        self._forget_ends()

    @property
    def is_ready(self) -> bool:
        """Whether there are batches for whatever the script reads."""
        passes = self.passes()
        return bool(passes) and all(self.shelves.get(one.loader) for one in passes)

    def passes(self) -> List[Pass]:
        """Return the passes whose batches are trained on."""
        return [one for one in self._recorder.passes.open if self._is_trained_on(one)]

    def offer(self, iterator: Any) -> Any:
        """Return the next batch of an iterator that is kept, or ``OWN``: it has to make one.

        Raises:
            StopIteration: Its pass has given as many as it would have without us.
        """
        one = self._pass_of(iterator)
        if one is None:
            return OWN
        if not self.is_on:  # the step that was replayed last has been committed by now
            self._recorder.book.is_replaying = False
        if self._is_through(one):
            self._ended()
            raise StopIteration
        shelf = self.shelves.get(one.loader)
        return self._give_again(one, shelf) if self.is_on and shelf else OWN

    def _failed(self, iterator: Any, error: BaseException) -> None:
        """An iterator has found its end, or an error."""
        if isinstance(error, StopIteration) and self._pass_of(iterator) is not None:
            self._ended()

    def _took(self, iterator: Any, batch: Any) -> None:
        """An iterator has made a batch."""
        one = self._pass_of(iterator) if self.is_keeping else None
        if one is not None:
            self._keep(one, iterator, batch)

    def _pass_of(self, iterator: Any) -> Optional[Pass]:
        one: Optional[Pass] = iterator.__dict__.get("_laptime_pass")
        return one if one is not None and self._is_trained_on(one) else None

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

    def _ended(self) -> None:
        """A pass is over, and its last step committed."""
        self.was_cut = True
        self.end()

    def _give_again(self, one: Pass, shelf: Shelf) -> Any:
        _, over, now = self._given.get(id(one), (one, 0, 0))
        self._given[id(one)] = one, over, now + 1
        if self.is_on_device:  # it works meanwhile: to leave this time out would be too much
            return shelf.give()
        return self._in_our_time(shelf.give)

    def _keep(self, one: Pass, iterator: Any, batch: Any) -> None:
        batches = self._recorder.book.found.loader(one.loader)["batches"]
        if batches is not None and one.fetched + 1 >= batches:
            return  # the last one may be short
        if one.loader not in self.shelves:
            live = {known.loader for known in self.passes()}  # some make a new one each epoch
            self.shelves = {i: known for i, known in self.shelves.items() if i in live}
            is_pinned = bool(getattr(iterator, "_pin_memory", False))
            self.shelves[one.loader] = Shelf(is_pinned=is_pinned)
        shelf = self.shelves[one.loader]
        if shelf.is_full:
            return
        others = sum(known.kept_bytes for known in self.shelves.values() if known is not shelf)
        self._in_our_time(lambda: shelf.keep(batch, MOST_BYTES - others))

    def _in_our_time(self, work: Callable[[], Any]) -> Any:
        left = self._recorder.enter(Phase.LOGGING)
        try:
            return work()
        finally:
            self._recorder.enter(left)

    def _take_back(self) -> None:
        """Let the workers go on, and take what was replayed out of the script's time.

        The step that was replayed last may not be committed yet: it is none of the script's own.
        """
        start, self._from = self._from, None
        self.still.resume()
        if start is None:
            return
        recorder = self._recorder
        if self.is_on_device:
            recorder.timer.close_window()
        left = recorder.enter(Phase.LOGGING)
        _take_out(recorder.ledger, start, recorder.ledger.snapshot())
        recorder.enter(left)
        for key, (one, over, now) in self._given.items():
            one.fetched -= now
            self._given[key] = one, over + now, 0

    def _forget_ends(self) -> None:
        """Say that passes with replayed batches have not given all of their own."""
        for one, _, _ in self._given.values():
            one.is_exhausted = False

    def _let_workers_go(self) -> None:
        if self.still.is_on:
            self.still.resume()
            self.was_cut = True

    def _worker_pids(self) -> List[int]:
        workers = [w for one in self.passes() for w in getattr(one.iterator, "_workers", ())]
        return [worker.pid for worker in workers if worker.pid is not None and worker.is_alive()]


def _take_out(ledger: ScriptLedger, start: Snapshot, end: Snapshot) -> None:
    """Let a ledger forget all that it charged between two readings."""
    for key, spent_ns in end.spent_ns.items():
        ledger._spent_ns[key] -= spent_ns - start.spent_ns[key]
