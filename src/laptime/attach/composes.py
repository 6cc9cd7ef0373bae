"""Transforms of a Compose, each timed while samples are made, and itself again afterwards."""

from __future__ import annotations

import gc
import operator
import threading
from typing import Any, Dict, List

from laptime.attach.hooks.frames import leave_no_frame
from laptime.timing.clock import ReadNs


class TransformTimes:
    """Nanoseconds in each transform, by its name; what one calls in another counts once."""

    def __init__(self, clock: ReadNs) -> None:
        self.read_ns = clock
        self.spent_ns: Dict[str, int] = {}
        self.within_ns = 0
        """What timed transforms took within the one that goes on."""
        self.thread = threading.get_ident()
        """Others than this one run beside it: their time is none of its."""


class TimedTransform:
    """A transform, timed; in all else it is that transform."""

    def __init__(self, original: Any, name: str, times: TransformTimes) -> None:
        object.__setattr__(self, "_laptime", (original, name, times))

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The transform's class, which libraries ask for."""
        return type(self._laptime[0])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Transform."""
        original, name, times = self._laptime
        outer_ns, times.within_ns = times.within_ns, 0
        start_ns = times.read_ns()
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_no_frame(error)
            raise
        finally:
            if threading.get_ident() == times.thread:
                spent_ns = times.read_ns() - start_ns
                own_ns = spent_ns - times.within_ns
                times.spent_ns[name] = times.spent_ns.get(name, 0) + own_ns
                times.within_ns = outer_ns + spent_ns

    def __getattr__(self, name: str) -> Any:
        return getattr(self._laptime[0], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._laptime[0], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._laptime[0], name)

    def __repr__(self) -> str:
        return repr(self._laptime[0])

    def __reduce_ex__(self, protocol: Any) -> Any:
        return operator.getitem, ([self._laptime[0]], 0)


class SplitCompose:
    """A Compose whose transforms are timed from :meth:`begin` to :meth:`end`."""

    def __init__(self, compose: Any, times: TransformTimes) -> None:
        self._compose, self._times = compose, times
        self._timed: Dict[int, TimedTransform] = {}

    def begin(self) -> None:
        """Put timed transforms into it."""
        transforms = list(self._compose.transforms)
        self._put([self._timed_one(one, transforms[:i]) for i, one in enumerate(transforms)])

    def end(self) -> None:
        """Put its own back."""
        self._put([
            one._laptime[0] if type(one) is TimedTransform else one
            for one in self._compose.transforms
        ])  # fmt: skip

    def _timed_one(self, one: Any, before: List[Any]) -> Any:
        if type(one) is TimedTransform or type(one).__name__ == "Compose":
            return one  # what a Compose within this one holds is timed by itself
        known = self._timed.get(id(one))
        if known is None:
            name = name_of(one)
            nth = 1 + sum(name_of(other) == name for other in before)
            shown = name if nth == 1 else f"{name} ({nth})"
            known = self._timed[id(one)] = TimedTransform(one, shown, self._times)
        return known

    def _put(self, transforms: List[Any]) -> None:
        if isinstance(self._compose.transforms, list):
            self._compose.transforms[:] = transforms
        else:
            self._compose.transforms = tuple(transforms)


def name_of(transform: Any) -> str:
    """Return what a transform is called: its own name where it is a function, else its class's."""
    own = getattr(transform, "__name__", None)
    return own if isinstance(own, str) else type(transform).__name__


def living_composes() -> List[Any]:
    """Return every Compose of this process, wherever it is kept: by a dataset, in a closure."""
    return [
        one for one in gc.get_objects() if type(one).__name__ == "Compose" and _can_be_split(one)
    ]


def _can_be_split(compose: Any) -> bool:
    """Tell a Compose whose transforms can be replaced; a class of that name may be anything."""
    try:
        transforms = compose.transforms
        if type(transforms) is tuple:
            compose.transforms = transforms
    except Exception:  # noqa: BLE001 - whatever it is, it is left as it is
        return False
    return type(transforms) in (list, tuple)
