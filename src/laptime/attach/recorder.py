"""The recorder of one training process: boundaries in, steps, windows and epochs out.

What hooks tell it is in the script's own words: a loader begins, a batch is fetched, a root
module is called, backward, an optimizer's step. It decides what these amount to.
"""

from __future__ import annotations

import threading
from itertools import zip_longest
from typing import Any, List, Optional

from laptime.attach.book import Book
from laptime.attach.ledger import After
from laptime.attach.listener import Enter, Listener
from laptime.attach.passes import Pass, Passes, Role
from laptime.phase import Phase
from laptime.timing.clock import ReadNs, read_ns


class Recorder(Listener):
    """Keep the ledger of a script that does not know of it.

    One thread is recorded, the one that trains: what others do, loaders that read ahead for
    example, runs beside it. While an evaluation goes on, everything belongs to it.
    """

    def __init__(self, book: Book, clock: ReadNs = read_ns) -> None:
        super().__init__(clock)
        self.book = book
        self.passes = Passes()
        self.has_stepped = False
        self.fetch_depth = 0
        self._optimizer_depth = 0
        self._cycle: List[Any] = []
        """Optimizers that stepped since the last step ended, where no loader tells steps apart."""
        self._last_of_cycle: Any = None

    @property
    def can_wait(self) -> bool:
        """Which of several passes is over depends on what the script holds at the moment."""
        return len(self.passes.open) <= 1

    @property
    def has_trained(self) -> bool:
        """Whether an epoch has begun."""
        return self.book.epoch is not None

    # Loaders

    def loader_started(self, loader: int, place: Any = None) -> Optional[Pass]:
        """Begin a pass, before ``iter()``; None where it is no pass of its own."""
        if threading.get_ident() != self.thread:
            return None
        self.catch_up()
        if self.fetch_depth:
            return None
        self._leave_evaluation_for(loader)
        if self.has_stepped and not self.is_held:
            self.commit()
        self.enter(Phase.LOADER_START)
        self._settle(self.passes.left_for(loader))
        if not self.is_held:
            self.book.cut_window(self.timer)
            if not self.passes.is_training:  # what was read before is no part of this pass
                self.book.forget_samples()
        one = Pass(loader, self.ledger.snapshot(), place)
        if self.is_held:
            one.role = Role.COMPANION
        self.passes.begin(one)
        self.catch_up()
        return one

    def loader_ready(self, one: Pass, iterator: Any) -> None:
        """``iter()`` has returned."""
        one.bind(iterator, lambda: self.tell((Recorder.let_go, 0, (one,))))
        self.catch_up()
        self.enter(After.LOADING)

    def let_go(self, one: Pass) -> None:
        """The script has let the iterator of a pass go."""
        self.passes.ended(one)

    def fetching(self, one: Pass) -> None:
        """Begin to wait for a batch."""
        self.fetch_depth += 1
        if len(self.passes.open) > 1:
            self._go_on(one)
        if self.has_stepped:
            self.commit()
        self.enter(Phase.DATA_WAIT if one.fetched else Phase.LOADER_START)

    def fetched(self, one: Pass, length: Optional[int]) -> None:
        """A batch is there, of so many samples as far as one can tell."""
        self.fetch_depth -= 1
        self.enter(After.LOADING)
        self.passes.fetched(one)
        if one.fetched == 1:
            self.book.loader_began(one.loader, one.start, self.ledger)
        if not self.is_held:
            self.book.count_samples(one, length)

    def exhausted(self, one: Pass) -> None:
        """The ``next()`` that was waited for has found the end."""
        self.fetch_depth -= 1
        one.is_exhausted = True
        self.passes.ended(one)
        if self.is_held:
            if one.role is Role.EVALUATION:
                self._end_evaluation(one)
            return
        since_ns = self.ledger.now_ns
        self.ledger.rename(Phase.LOADER_END)
        self.enter(After.LOADING)
        one.end = self.ledger.snapshot()
        self.book.loader_ended(one.loader, one.end.at_ns - since_ns)

    def fetch_failed(self, one: Pass) -> None:  # noqa: ARG002 - as its neighbours are called
        """A ``next()`` has raised something else."""
        self.fetch_depth -= 1
        self.enter(After.LOADING)

    # The model

    def root_called(self) -> None:
        """Begin a call of a root module: ``forward`` goes on until backward, with the loss."""
        if not self.is_held:
            self.enter(Phase.FORWARD)
            if self.book.epoch is None:
                self.book.noticed(self.ledger)

    def root_asked(self) -> None:
        """Begin a call of a model that is trained, in evaluation mode and without gradients."""
        left = None
        if not self.is_held:
            evaluation = self.passes.evaluating()
            left = self.enter(Phase.EVALUATION)
            if evaluation is not None:
                self._hold(evaluation)
                left = None
        self._left.append(left)

    def root_answered(self) -> None:
        """End such a call."""
        left = self._left.pop() if self._left else None
        if left is not None and not self.is_held:
            self.enter(After.EVALUATION if left is Phase.FORWARD else left)

    # Gradients and updates

    def backward_started(self, loss: Any) -> None:
        """Begin to compute gradients."""
        if self.is_held:
            self._misjudged()
        self.enter(Phase.BACKWARD)
        if self.book.epoch is None:
            self.book.noticed(self.ledger)
        if loss is not None:
            self.book.add_loss(loss, replaces=self._optimizer_depth > 0)

    def unscaled(self, loss: Any) -> None:
        """A GradScaler has scaled a loss: backward is about to be called on the product."""
        self.book.unscaled(loss)

    def backward_ended(self) -> None:
        """Gradients are there; within a closure the optimizer goes on."""
        self.enter(Phase.OPTIMIZER if self._optimizer_depth else After.BACKWARD)

    def optimizer_started(self, optimizer: Any) -> None:
        """Begin an optimizer's step; a GradScaler's may hold one within."""
        self._optimizer_depth += 1
        if self._optimizer_depth > 1:
            return
        if self.is_held:
            self._misjudged()
        if self.has_stepped and not self.passes.is_training and self._last_of_cycle is None:
            self._close_cycle(optimizer)
        self.enter(Phase.OPTIMIZER)

    def optimizer_ended(self, optimizer: Any) -> None:
        """End an optimizer's step, or an attempt that a GradScaler skipped."""
        self._optimizer_depth = max(0, self._optimizer_depth - 1)
        if self._optimizer_depth:
            return
        self.enter(After.OPTIMIZER)
        self.has_stepped = True
        if self.passes.is_training and not self.passes.has_unknown:
            return
        if self.passes.has_unknown or self.book.epoch is None:
            self._begin_epoch()
        if not self.passes.is_training and self._ends_cycle(optimizer):
            self.commit()

    def close(self, ended: str) -> None:
        """Write what is not written yet; the script is at its end."""
        self._backlog.follow_without_charge()
        self.follow_at_once()
        evaluation = self.passes.evaluation
        if self.is_held and evaluation is not None:
            self._end_evaluation(evaluation)
        if self.has_stepped:  # what follows the last boundary belongs to no step
            self.has_stepped = False
            self.book.end_step(self.timer)
        self._settle(self.passes.close())
        self.book.close(self.timer, self.ledger, ended, self.own_ns)

    # Evaluations

    def _hold(self, one: Pass) -> None:
        """Give an evaluation what was charged since its pass began, and all that follows."""
        self.ledger.reassign(one.start, self.ledger.snapshot(), Phase.EVALUATION)
        self.book.forget_step()
        self.is_held = True
        self.enter = _stay_held

    def release(self) -> None:
        """Tell boundaries apart again: an evaluation is over."""
        self.is_held = False
        self.enter = self.timer.enter
        enter: Enter = self.enter
        enter(After.EVALUATION)

    def _end_evaluation(self, one: Pass) -> None:
        self.release()
        one.end = self.ledger.snapshot()
        self.book.evaluated(one)
        self.passes.drop(one)

    def _go_on(self, one: Pass) -> None:
        """Settle what was begun within a pass that goes on: an evaluation, left or at its end."""
        if not self.is_held:
            self._settle(self.passes.over_within(one))
        elif one.role is not Role.EVALUATION:
            for inner in self.passes.evaluations_within(one):
                self._end_evaluation(inner)

    def _misjudged(self) -> None:
        """Gradients are computed where an evaluation was thought to go on."""
        evaluation = self.passes.evaluation
        self.release()
        if evaluation is not None:
            self.passes.misjudged(evaluation, self.ledger.snapshot())

    def _leave_evaluation_for(self, loader: int) -> None:
        """End an evaluation that was left, where a loader begins that is none of its own."""
        evaluation = self.passes.evaluation
        if not self.is_held or evaluation is None:
            return
        if evaluation.is_over or self.book.is_trained_on(loader):
            self._end_evaluation(evaluation)

    # Steps

    def is_steady(self, one: Pass) -> bool:
        """Tell whether a step is over, and each like it on the next batch would be the same."""
        passes = self.passes
        is_plain = passes.is_training and passes.open == [one] and one.fetched > 0
        is_between = self.has_stepped and not self._optimizer_depth and not self.fetch_depth
        return is_plain and is_between and not self.is_held and self.at_boundary is None

    def repeated(self, samples: List[List[Any]], losses: List[List[Any]]) -> None:
        """Count steps that followed the last one and were like it.

        Args:
            samples: Of every batch of every step.
            losses: Of every backward of every step; of none where there is none.
        """
        (one,), book = self.passes.open, self.book
        for lengths, values in zip_longest(samples, losses, fillvalue=()):
            book.end_step(self.timer)
            for length in lengths:
                self.passes.fetched(one)
                book.count_samples(one, length)
            for loss in values:
                if loss is not None:
                    book.add_loss(loss, replaces=False)

    def _ends_cycle(self, optimizer: Any) -> bool:
        """Tell, where no loader says so, whether a step ends with this optimizer's."""
        self._cycle.append(optimizer)
        if self._last_of_cycle is not None:
            return optimizer is self._last_of_cycle
        return self.book.num_optimizers <= 1

    def _close_cycle(self, optimizer: Any) -> None:
        """An optimizer is about to step again: the one before it was the last of a step."""
        if any(known is optimizer for known in self._cycle):
            self._last_of_cycle = self._cycle[-1]
            self.commit()

    def _begin_epoch(self) -> None:
        self._settle(self.passes.left_behind())
        found = self.passes.stepped()
        if found is not None:
            self.book.begin_epoch(found, self.timer, self.ledger)
        elif self.book.epoch is None:
            self.book.begin_epoch(None, self.timer, self.ledger)

    def _settle(self, ended: List[Pass]) -> None:
        """Decide on passes that are over: without a step of an optimizer they were evaluations."""
        settled_ns = 0  # passes that were live side by side share their time
        for one in ended:
            if one.role is Role.UNKNOWN and self.book.epoch is not None:
                one.end = one.end or self.ledger.snapshot()
                if one.start.at_ns >= settled_ns:
                    later = self.passes.since(one.end)
                    self.ledger.reassign(one.start, one.end, Phase.EVALUATION, later)
                    settled_ns = one.end.at_ns
                self.book.evaluated(one)
            elif one.role is Role.EVALUATION and self.is_held:
                self._end_evaluation(one)

    def commit(self) -> None:
        """Count the step that has ended; what is written, or waited for, is no time of its."""
        self.has_stepped = False
        self._cycle.clear()
        window_is_full = self.book.end_step(self.timer)
        if window_is_full or self.at_boundary is not None:
            self.enter(Phase.LOGGING)
            if window_is_full:
                self.book.cut_window(self.timer)
            if self.at_boundary is not None:
                self.at_boundary()
            self.enter(After.OPTIMIZER)


def _stay_held(phase: Any) -> Any:  # noqa: ARG001 - takes what the ledger's takes
    """Stay in the evaluation, and read no clock."""
    return Phase.EVALUATION
