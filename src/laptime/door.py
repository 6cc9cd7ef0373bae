"""A ledger that a training loop opens itself: what ``laptime run`` records, without the command.

::

    with laptime.ledger("runs") as ledger:
        for epoch in range(5):
            for batch in ledger.loading(batches):
                ...

Loaders of torch, modules, backward, optimizers and saves of checkpoints are found without help.
What the loop says itself adds to that: ``loading`` for batches that come from something else than
a DataLoader, ``phase`` for a part of the loop, ``step`` for an update that no optimizer of torch
makes. What nobody says stays ``other``.

The standard library and torch only: it enters other people's environments.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from laptime.errors import SettingsError, printable
from laptime.phase import TRAINING, Phase
from laptime.self_recording import SelfRecording, foreign_recorder, hold_evaluation

Batch = TypeVar("Batch")

_OPEN: list[LoopLedger] = []
"""The ledger of this process, while there is one: it can be in one phase only."""


def ledger(runs_dir: str | os.PathLike[str] = "runs", *, name: str | None = None) -> LoopLedger:
    """Return a ledger of the training in this process, for a ``with`` statement.

    It writes a directory as ``laptime run`` does, and prints on standard error where that is.
    Under ``laptime run``, what the loop says goes into the run of the command instead. Of several
    processes that train together, the first is recorded.

    Args:
        runs_dir: Where run directories are kept.
        name: A word for the name of the run's directory; without one, the script's.
    """
    return LoopLedger(Path(runs_dir), name)


class LoopLedger:
    """The recorder of this process, in the hands of a training loop."""

    def __init__(self, runs_dir: Path, name: str | None = None) -> None:
        self._runs_dir, self._name = runs_dir, name
        self._recording: SelfRecording | None = None
        self._recorder: Any = None
        self._sources: dict[tuple[object, ...], int] = {}
        self._updates: dict[str, Any] = {}

    @property
    def directory(self) -> Path | None:
        """Where it writes; None before it is opened, and where it does not record itself."""
        return self._recording.directory if self._recording else None

    def __enter__(self) -> LoopLedger:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or (isinstance(error, SystemExit) and not error.code):
            self.close()
        else:
            self.close(error=error)

    def open(self) -> None:
        """Begin to record.

        Raises:
            SettingsError: A ledger is open in this process already.
            StoreError: The directory cannot be made.
        """
        from laptime.attach.found import process_rank

        if _OPEN:
            raise SettingsError(
                f"a ledger is open already ({_OPEN[0].directory}). Close it first: a process has "
                "one at a time."
            )
        recorder = foreign_recorder()
        if recorder is None and process_rank() == 0:
            self._recording = SelfRecording(self._runs_dir, self._name)
            recorder = self._recording.begin()
        if recorder is not None:
            recorder.follow_at_once()
        self._recorder = recorder
        self._sources.clear()
        self._updates = {}
        _OPEN.append(self)

    def close(self, *, error: BaseException | None = None) -> None:
        """End the record and print where it is; where it is closed already, do nothing.

        Args:
            error: What ended the training, where something did.
        """
        if self not in _OPEN:
            return
        _OPEN.remove(self)
        self._recorder = None
        if self._recording is None or not self._recording.is_ours:
            return
        status, reason = "completed", None
        if error is not None:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            reason = printable(f"{type(error).__name__}: {error}".rstrip(": "))
        sys.stderr.write(f"laptime: {self._recording.end(status, reason)}\n")

    def loading(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        """Return the same batches; the wait for each is charged to loading.

        A pass over them is an epoch once an optimizer has stepped in it. Torch's own loaders are
        known without it.
        """
        if self._recorder is None or _is_torch_loader(batches):
            return batches
        return _Source(self._recorder, self._number_of(batches), batches)

    def phase(self, name: str | Phase) -> _Part:
        """Return a context whose time is charged to a phase.

        Boundaries that are found within refine it: backward within ``forward`` is backward. An
        evaluation keeps all that is in it.

        Raises:
            SettingsError: There is no such phase.
        """
        try:
            phase = Phase(name)
        except ValueError:
            known = ", ".join(phase.value for phase in Phase)
            raise SettingsError(f"phase is {name!r}, but must be one of {known}.") from None
        return _Part(self._recorder, phase)

    def step(self) -> None:
        """Say that an update has been made, where no optimizer of torch makes it."""
        recorder = self._recorder
        if recorder is not None and recorder.thread == threading.get_ident():
            updates = self._updates_row()
            updates["steps"] += 1
            recorder.optimizer_started(updates)
            recorder.optimizer_ended(updates)

    def _number_of(self, batches: Iterable[Any]) -> int:
        """Return the number of a source of batches among the loaders; its facts are noted once.

        One that is made anew for each epoch at the same line is the same source. None is kept
        alive for that: batches may be large.
        """
        from laptime.attach.places import caller_place

        loaders = self._recorder.book.found.loaders
        facts = _loader_facts(batches, caller_place())
        key = facts["class"], facts["batches"], str(facts["place"])
        if key not in self._sources:
            self._sources[key] = len(loaders)
            loaders.append(facts)
        return self._sources[key]

    def _updates_row(self) -> dict[str, Any]:
        """Return the facts of the loop's own updates, which stand among the optimizers."""
        from laptime.attach.places import caller_place

        if not self._updates:
            unknown = dict.fromkeys(("place", "lr", "foreach", "fused"))
            facts = {"class": "step()", "parameters": 0, "steps": 0, **unknown}
            self._updates.update(facts, stepped_at=caller_place())
            self._recorder.book.found.optimizers.append(self._updates)
        return self._updates


_WORK = (Phase.DATA_WAIT, *TRAINING)
"""Phases that training begins with, where no loader says so."""


class _Part:
    """A part of the loop that its author has named."""

    def __init__(self, recorder: Any, phase: Phase) -> None:
        self._recorder, self._phase = recorder, phase
        self._end: Callable[[], None] | None = None

    def __enter__(self) -> None:
        from laptime.attach.places import caller_place

        recorder, phase = self._recorder, self._phase
        if recorder is None or recorder.thread != threading.get_ident():
            return
        if phase is Phase.EVALUATION:
            self._end = hold_evaluation(recorder, caller_place())
            return
        left = recorder.enter(phase)
        if left is Phase.EVALUATION:  # which keeps all that is in it
            recorder.enter(left)
            return
        if phase in _WORK:
            recorder.book.noticed(recorder.ledger)
        after = _after(left, phase)
        self._end = lambda: recorder.enter(after)

    def __exit__(self, *error: object) -> None:
        end, self._end = self._end, None
        if end is not None:
            end()


def _after(left: Any, phase: Phase) -> Any:
    """Return what is entered after a part: the phase around it, or ``other``, named by it."""
    from laptime.attach.ledger import After

    if not isinstance(left, After):
        return left
    word = "loading" if phase in (Phase.LOADER_START, Phase.DATA_WAIT, Phase.LOADER_END) else phase
    return next((after for after in After if after.value == word), left)


class _Source(Generic[Batch]):
    """Batches that come from something of the loop's own."""

    def __init__(self, recorder: Any, number: int, batches: Iterable[Batch]) -> None:
        self._recorder, self._number, self._batches = recorder, number, batches

    def __iter__(self) -> Iterator[Batch]:
        from laptime.attach.places import caller_place

        recorder = self._recorder
        one = recorder.loader_started(self._number, caller_place())
        if one is None:  # within the fetch of another, or in another thread
            return iter(self._batches)
        recorder.before_pass()
        iterator = _SourceIterator(recorder, one, iter(self._batches))
        recorder.loader_ready(one, iterator)
        return iterator

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]  # a progress bar asks what it asks


class _SourceIterator(Generic[Batch]):
    """One pass over them; it ends when the loop lets it go."""

    def __init__(self, recorder: Any, one: Any, batches: Iterator[Batch]) -> None:
        self._recorder, self._pass, self._batches = recorder, one, batches

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        from laptime.attach.found import length_of

        recorder, one = self._recorder, self._pass
        if recorder.thread != threading.get_ident():
            return next(self._batches)
        recorder.fetching(one)
        try:
            batch = next(self._batches)
        except StopIteration:
            recorder.exhausted(one)
            raise
        except BaseException:
            recorder.fetch_failed(one)
            raise
        recorder.fetched(one, length_of(batch))
        return batch


def _is_torch_loader(batches: object) -> bool:
    from torch.utils.data import DataLoader

    return isinstance(batches, DataLoader)


def _loader_facts(batches: Any, place: Any) -> dict[str, Any]:
    """Return the facts of a source of batches, with those that only a loader of torch has."""
    from laptime.attach.hooks import loader

    length = len(batches) if hasattr(batches, "__len__") else None
    kind = type(batches).__name__
    known = {"batches": length, "dataset": kind, "iterable": length is None, "batch_size": None}
    return {**loader._facts(batches, place), **known}
