"""What making samples takes, summed over a loader's workers, or in this process without any.

A worker process is entered through what a loader starts it with, whatever the start method is.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from typing import Any, Callable, Dict, List, Optional

from laptime.attach.composes import living_composes
from laptime.attach.hooks.frames import leave_no_frame, stands_for
from laptime.attach.hooks.loader import index_of
from laptime.attach.journal import Slate, read_slates
from laptime.attach.passes import Role
from laptime.attach.samples import HERE, OWN, Sums, hook_fetchers
from laptime.phase import Phase
from laptime.timing.clock import ReadNs, read_ns, thread_cpu_ns

FOLDER = "workers"
WRITE_EVERY_NS = 20_000_000

_COUNTED = ("samples", "batches", "getitem_ns", "collate_ns", "queue_ns", "cpu_ns")

_WORKER_LOOPS: List[Any] = []
"""Torch's own, where something stands for it."""

_KNOWN_COMPOSES: List[List[Any]] = []
"""What the process that forks has found: a child need not look, and touch all of its memory."""


class Workers:
    """Follows the loaders of one process, and adds up what their samples took."""

    def __init__(self, recorder: Any, run: str) -> None:
        self._recorder, self._run = recorder, run
        self._own: Dict[int, Sums] = {}
        self._composes: Dict[int, List[Any]] = {}

    def hook(self) -> None:
        """Touch torch."""
        from torch.utils.data import dataloader as torch_loader
        from torch.utils.data._utils import worker

        hook_fetchers()
        _WORKER_LOOPS.append(worker._worker_loop)
        self._hook_single(torch_loader._SingleProcessDataLoaderIter)
        self._hook_many(torch_loader._MultiProcessingDataLoaderIter, worker)

    def _hook_single(self, iterator_class: Any) -> None:
        original, sums_for = iterator_class.__init__, self._sums_for

        @stands_for(original)
        def __init__(self: Any, loader: Any) -> None:  # noqa: N807 - it replaces one
            try:
                original(self, loader)
            except BaseException as error:
                leave_no_frame(error)
                raise
            self._dataset_fetcher.__dict__[OWN] = sums_for(loader)

        iterator_class.__init__ = __init__

    def _hook_many(self, iterator_class: Any, worker: Any) -> None:
        original, entered = iterator_class.__init__, self._entered

        @stands_for(original)
        def __init__(self: Any, loader: Any) -> None:  # noqa: N807 - it replaces one
            loop = worker._worker_loop
            worker._worker_loop = entered(loader, loop)
            try:
                original(self, loader)
            except BaseException as error:
                leave_no_frame(error)
                raise
            finally:
                worker._worker_loop = loop
                _KNOWN_COMPOSES.clear()

        iterator_class.__init__ = __init__

    def forked(self) -> None:
        """In a child: forget what the parent summed."""
        self._own.clear()

    def close(self) -> None:
        """Add up what all processes have summed."""
        found = self._recorder.book.found
        documents = [{"loader": i, **sums.document()} for i, sums in self._own.items()]
        documents += [
            one for one in read_slates(os.path.join(self._run, FOLDER)) if one["home"] == _home()
        ]
        trained = [one for one in documents if self._is_trained_on(one["loader"])]
        total = {name: sum(one[name] for one in trained) for name in _COUNTED}
        if not total["samples"]:
            found.note("--workers: no sample was made by a DataLoader that was trained on.")
            return
        cpu_ns = total.pop("cpu_ns")
        found.workers = {**total, "transforms": _transforms(trained)}
        share = cpu_ns / max(1, total["getitem_ns"] + total["collate_ns"])
        found.note(f"--workers: making samples kept {share:.2f} cores busy while it went on.")

    def _is_trained_on(self, loader: int) -> bool:
        """Tell a loader of batches that are trained on; one read beside it has no own passes."""
        row = self._recorder.book.found.loader(loader)
        going = [one for one in self._recorder.passes.open if one.loader == loader]
        is_beside = all(one.role is Role.COMPANION for one in going)
        return bool(row["training_passes"] or (is_beside and not row["evaluation_passes"]))

    def _sums_for(self, loader: Any) -> Sums:
        index = index_of(loader, self._recorder, None)
        if index not in self._own:
            self._own[index] = Sums(self._composes_for(index))
        return self._own[index]

    def _entered(self, loader: Any, loop: Any) -> Any:
        """Return what a loader's workers are started with."""
        if os.environ.get("LAPTIME_RUN") != self._run:  # a new interpreter would not find us
            return loop
        index = index_of(loader, self._recorder, None)
        _KNOWN_COMPOSES[:] = [self._composes_for(index)]
        return functools.partial(work, os.path.join(self._run, FOLDER), _home(), index)

    def _composes_for(self, index: int) -> List[Any]:
        """Look for transforms once a loader, in time that is ours."""
        if index not in self._composes:
            left = self._recorder.enter(Phase.LOGGING)
            self._composes[index] = living_composes()
            self._recorder.enter(left)
        return self._composes[index]


def work(folder: str, home: str, loader: int, *given: Any) -> None:
    """Do what a loader's worker does, and write what it took."""
    from torch.utils.data._utils import worker

    loop = _WORKER_LOOPS[0] if _WORKER_LOOPS else worker._worker_loop
    hook_fetchers()
    composes = _KNOWN_COMPOSES[0] if _KNOWN_COMPOSES else living_composes()
    HERE[:] = [Sums(composes)]
    desk = Desk(HERE[0], folder, {"home": home, "loader": loader})
    with contextlib.suppress(AttributeError, IndexError):  # a torch that is made otherwise
        desk.watch(given[3])
    try:
        loop(*given)
    finally:
        desk.write()


class Desk:
    """Where a worker hands batches over, and notes what they took."""

    def __init__(
        self,
        sums: Sums,
        folder: str,
        names: Dict[str, Any],
        clock: ReadNs = read_ns,
        cpu_clock: ReadNs = thread_cpu_ns,
    ) -> None:
        self._sums, self._folder, self._names = sums, folder, names
        self._read_ns, self._read_cpu_ns = clock, cpu_clock
        self._slate: Optional[Slate] = None
        self._written_ns = 0
        self._put_ns = self._sent_ns = 0

    def watch(self, queue: Any) -> None:
        """Time a queue: its ``put``, and the thread that pickles and sends what was put.

        Of that thread it is the CPU time: it runs beside the making of samples, and waits for
        the interpreter, or for the other side to read.
        """
        from multiprocessing import queues

        put = queue.put

        def timed_put(*args: Any, **kwargs: Any) -> None:
            start_ns = self._read_ns()
            put(*args, **kwargs)
            now_ns = self._read_ns()
            self._put_ns += now_ns - start_ns
            if now_ns - self._written_ns >= WRITE_EVERY_NS:
                self._written_ns = now_ns
                self.write()

        modules: Any = queues
        modules._ForkingPickler = Pickler(modules._ForkingPickler, queue, self._sent)
        queue.put = timed_put

    def write(self) -> None:
        """Write the sums as they are now."""
        self._sums.queue_ns = self._put_ns + self._sent_ns
        with contextlib.suppress(OSError):
            if self._slate is None:
                self._slate = Slate(self._folder)
            self._slate.write({**self._names, **self._sums.document()})

    def _sent(self) -> None:
        """The queue's thread has pickled one more: all that it has done so far was for this."""
        self._sent_ns = self._read_cpu_ns()


class Pickler:
    """The pickler of queues, that tells what one queue's thread does."""

    def __init__(self, pickler: Any, queue: Any, told: Callable[[], None]) -> None:
        self._queue, self._told = queue, told
        self._dumps, self.loads = pickler.dumps, pickler.loads

    def dumps(self, *args: Any) -> Any:
        """Pickle something."""
        try:
            return self._dumps(*args)
        finally:
            if threading.current_thread() is getattr(self._queue, "_thread", None):
                self._told()


def _home() -> str:
    return f"{os.uname().nodename}:{os.getpid()}"


def _transforms(documents: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    sums: Dict[str, int] = {}
    for document in documents:
        for name, spent_ns in document["transforms"].items():
            sums[name] = sums.get(name, 0) + spent_ns
    return [{"name": name, "ns": spent_ns} for name, spent_ns in sums.items()]
