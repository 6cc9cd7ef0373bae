"""Loaders: their creation, the begin of each pass, every batch, the end."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Callable, Dict

from laptime.attach.found import length_of
from laptime.attach.hooks.frames import leave_no_frame, stands_for
from laptime.attach.places import caller_place
from laptime.attach.recorder import Recorder
from laptime.timing.clock import read_ns

Change = Callable[[Any, Any, Dict[str, Any]], Any]

_SETTINGS = ("num_workers", "batch_size", "pin_memory", "persistent_workers", "prefetch_factor")


def hook_loaders(recorder: Recorder, change: Change) -> None:
    """Follow every DataLoader and every iterator of one.

    Args:
        recorder: Who is told.
        change: Takes the place where a loader is made and its arguments, by position and by
            name; returns those that it is made with.
    """
    from torch.utils.data import DataLoader
    from torch.utils.data.dataloader import _BaseDataLoaderIter

    _hook_creation(DataLoader, recorder, change)
    _hook_passes(DataLoader, recorder)
    _hook_batches(_BaseDataLoaderIter, recorder)


def _hook_creation(loader_class: Any, recorder: Recorder, change: Change) -> None:
    original = loader_class.__init__

    @stands_for(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it replaces one
        place = caller_place()
        try:
            args, kwargs = change(place, args, kwargs)
            original(self, *args, **kwargs)
        except BaseException as error:
            leave_no_frame(error)
            raise
        index_of(self, recorder, place)

    loader_class.__init__ = __init__


def _hook_passes(loader_class: Any, recorder: Recorder) -> None:
    original = loader_class.__iter__

    @stands_for(original)
    def __iter__(self: Any) -> Any:  # noqa: N807 - it replaces one
        recorder.before_pass()
        place, index = caller_place(), index_of(self, recorder, None)
        one = recorder.loader_started(index, place)
        if one is not None:
            recorder.book.found.loader(index)["read_at"] = place
        try:
            iterator = original(self)
        except BaseException as error:
            leave_no_frame(error)
            raise
        if one is None:
            return iterator
        recorder.loader_ready(one, iterator)
        iterator.__dict__["_laptime_pass"] = one
        return iterator

    loader_class.__iter__ = __iter__


def _hook_batches(iterator_class: Any, recorder: Recorder) -> None:
    original, current = iterator_class.__next__, threading.get_ident
    fetching, fetched = Recorder.fetching, Recorder.fetched

    @stands_for(original)
    def __next__(self: Any) -> Any:  # noqa: N807 - it replaces one
        one = self.__dict__.get("_laptime_pass")
        ours = one is not None and current() == recorder.thread
        if ours:
            now_ns = read_ns()
            recorder.tell((fetching, now_ns, (one,)))
            if now_ns > recorder.due_ns:
                recorder.catch_up()
        try:
            batch = original(self)
        except BaseException as error:
            leave_no_frame(error)
            if ours:
                over = isinstance(error, StopIteration)
                what = Recorder.exhausted if over else Recorder.fetch_failed
                recorder.tell((what, read_ns(), (one,)))
            raise
        if ours:
            recorder.tell((fetched, read_ns(), (one, length_of(batch))))
        return batch

    iterator_class.__next__ = __next__


_INDICES: Any = weakref.WeakKeyDictionary()
_ORIGINS: Any = weakref.WeakKeyDictionary()
"""Where the first loader of a dataset was made: a framework makes its own from the user's."""


def index_of(loader: Any, recorder: Recorder, place: Any) -> int:
    """Return the number of a loader; one that was copied or unpickled is noted when it begins."""
    known = _INDICES.get(loader)
    if known is None:
        found = recorder.book.found
        known = _INDICES[loader] = len(found.loaders)
        found.loaders.append(_facts(loader, _origin(loader, place)))
    return int(known)


def _origin(loader: Any, place: Any) -> Any:
    """Return the place of the user's own call, where a library has made a loader out of it."""
    dataset = getattr(loader, "dataset", None)
    try:
        return _ORIGINS.setdefault(dataset, place) or place
    except TypeError:  # a list, for example, cannot be referred to weakly
        return place


def _facts(loader: Any, place: Any) -> Dict[str, Any]:
    settings = {name: getattr(loader, name, None) for name in _SETTINGS}
    sampler = getattr(loader, "batch_sampler", None)
    if settings["batch_size"] is None:
        settings["batch_size"] = getattr(sampler, "batch_size", None)
    for name, value in settings.items():
        settings[name] = value if isinstance(value, (bool, int)) else None
    settings["num_workers"] = settings["num_workers"] or 0
    for name in ("pin_memory", "persistent_workers"):
        settings[name] = bool(settings[name])
    return {
        "place": place,
        "class": type(loader).__name__,
        **settings,
        "batches": _length(loader),
        "dataset": type(getattr(loader, "dataset", None)).__name__,
        "iterable": bool(getattr(loader, "_dataset_kind", 0)),
        "read_at": None,
        "training_passes": 0,
        "evaluation_passes": 0,
        "start_ns": [],
        "end_ns": [],
    }


def _length(loader: Any) -> Any:
    if getattr(loader, "_dataset_kind", 0):  # an iterable dataset's own word: asking may warn
        return None
    try:
        return len(loader)
    except Exception:  # noqa: BLE001 - a sampler of the script may know no length, or raise
        return None
