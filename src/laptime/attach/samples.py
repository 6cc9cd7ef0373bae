"""What making samples takes, in the process that makes them: a loader's worker, or the script's."""

from __future__ import annotations

import threading
from typing import Any, Dict, List, Optional, Tuple

from laptime.attach.composes import SplitCompose, TransformTimes
from laptime.attach.hooks.frames import leave_no_frame, stands_for
from laptime.timing.clock import ReadNs, process_cpu_ns, read_ns

OWN = "_laptime_sums"
"""The attribute of a fetcher that names whose sums its batches are added to."""


class Sums:
    """Nanoseconds that one process spent on one loader's batches."""

    def __init__(
        self,
        composes: Any = (),
        clock: ReadNs = read_ns,
        cpu_clock: ReadNs = process_cpu_ns,
    ) -> None:
        self._read_ns, self._read_cpu_ns = clock, cpu_clock
        self._transforms = TransformTimes(clock)
        self._splits = [SplitCompose(compose, self._transforms) for compose in composes]
        self._timed: Dict[int, Tuple[Any, Any]] = {}
        """Collate functions and what stands for them."""
        self.samples = self.batches = 0
        self.getitem_ns = self.collate_ns = self.queue_ns = self.cpu_ns = 0
        self._start_ns = self._start_cpu_ns = self._collating_ns = 0
        self._fetcher: Any = None
        self._index: Any = None

    @property
    def is_busy(self) -> bool:
        """Whether a batch is being made."""
        return self._fetcher is not None

    def document(self) -> Dict[str, Any]:
        """Return the sums as JSON."""
        names = ("samples", "batches", "getitem_ns", "collate_ns", "queue_ns", "cpu_ns")
        numbers = {name: getattr(self, name) for name in names}
        return {**numbers, "transforms": dict(self._transforms.spent_ns)}

    def begin(self, fetcher: Any, index: Any) -> None:
        """A batch is about to be made."""
        self._fetcher, self._index = fetcher, index
        self._transforms.thread = threading.get_ident()
        for split in self._splits:
            split.begin()
        fetcher.collate_fn = self._timed_collate(fetcher.collate_fn)
        self._collating_ns = 0
        self._start_cpu_ns, self._start_ns = self._read_cpu_ns(), self._read_ns()

    def end(self) -> None:
        """It has been made, or has failed."""
        spent_ns = self._read_ns() - self._start_ns
        self.cpu_ns += self._read_cpu_ns() - self._start_cpu_ns
        self.getitem_ns += spent_ns - self._collating_ns
        self.collate_ns += self._collating_ns
        fetcher, self._fetcher, self._index = self._fetcher, None, None
        fetcher.collate_fn = getattr(fetcher.collate_fn, OWN, fetcher.collate_fn)
        for split in self._splits:
            split.end()

    def _timed_collate(self, collate: Any) -> Any:
        if id(collate) not in self._timed:
            self._timed[id(collate)] = collate, self._build_collate(collate)
        return self._timed[id(collate)][1]

    def _build_collate(self, collate: Any) -> Any:
        clock = self._read_ns

        @stands_for(collate)
        def collate_fn(data: Any) -> Any:
            samples = _count(data, self._index) if self._fetcher.auto_collation else 1
            start_ns = clock()
            try:
                batch = collate(data)
            except BaseException as error:
                leave_no_frame(error)
                raise
            finally:
                self._collating_ns = clock() - start_ns
            self.samples += samples
            self.batches += 1
            return batch

        setattr(collate_fn, OWN, collate)
        return collate_fn


HERE: List[Sums] = []
"""The sums of this process, where it is a loader's worker."""


def hook_fetchers() -> None:
    """Time whatever makes batches, once in a process."""
    from torch.utils.data._utils import fetch

    for name in ("_MapDatasetFetcher", "_IterableDatasetFetcher"):
        _hook_fetcher(getattr(fetch, name))


def _hook_fetcher(fetcher_class: Any) -> None:
    original = fetcher_class.fetch
    if hasattr(original, OWN):
        return

    @stands_for(original)
    def fetch(self: Any, possibly_batched_index: Any) -> Any:
        sums = sums_of(self)
        if sums is not None:
            sums.begin(self, possibly_batched_index)
        try:
            return original(self, possibly_batched_index)
        except BaseException as error:
            leave_no_frame(error)
            raise
        finally:
            if sums is not None:
                sums.end()

    setattr(fetch, OWN, None)
    fetcher_class.fetch = fetch


def sums_of(fetcher: Any) -> Optional[Sums]:
    """Return what a fetcher's batches are added to; None where nobody asks.

    A batch within another is part of that one.
    """
    sums = fetcher.__dict__.get(OWN) or (HERE[0] if HERE else None)
    return None if sums is None or sums.is_busy else sums


def _count(data: Any, index: Any) -> int:
    """Return how many samples are collated; data of another kind holds what was asked for."""
    return len(data if isinstance(data, list) else index)
