"""Tracebacks as they are without us: an error that passes through a hook leaves none of its frames.

Since Python 3.11 a bare ``raise`` takes the traceback from the exception as it is, so a hook drops
its own entry and raises on. Before that it puts the entry back; there the entries are left out when
an uncaught error is printed.
"""

from __future__ import annotations

import functools
import os
import sys
from types import TracebackType
from typing import Any, Callable, List, Optional

from laptime.attach.hooks.tracing import leave_alone

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_EXACT = sys.version_info >= (3, 11)
_REPLACED: List[Callable[..., Any]] = []


_UNSEEN = os.path.join(_OURS, "importlib_bootstrap")
"""A file name that Python takes for its own import machinery: ``warnings.warn(stacklevel=...)``
does not count such frames (``warnings._is_internal_frame``, every version)."""


def stands_for(original: Any) -> Callable[[Any], Any]:
    """Return a decorator for what replaces a function of torch: warnings look through it."""

    def replace(function: Any) -> Any:
        function.__code__ = function.__code__.replace(co_filename=_UNSEEN)
        leave_alone(function.__code__)
        return functools.wraps(original)(function)

    return replace


def leave_no_frame(error: BaseException) -> None:
    """Drop the caller's own entry from a traceback; a bare ``raise`` must follow."""
    if not _EXACT:
        _print_without_ours(error)
        return
    entry = error.__traceback__
    if entry is not None and entry.tb_frame is sys._getframe(1):
        error.__traceback__ = entry.tb_next


def _print_without_ours(error: BaseException) -> None:
    if _REPLACED or isinstance(error, StopIteration):
        return
    previous = sys.excepthook
    _REPLACED.append(previous)

    def show(kind: Any, error: Any, entry: Optional[TracebackType]) -> None:
        cause: Optional[BaseException] = error
        while cause is not None:
            cause.__traceback__ = without_ours(cause.__traceback__)
            cause = cause.__cause__ or cause.__context__
        previous(kind, error, without_ours(entry))

    sys.excepthook = show


def without_ours(entry: Optional[TracebackType]) -> Optional[TracebackType]:
    """Return a traceback without the entries of hooks."""
    entries: List[TracebackType] = []
    while entry is not None:
        if not entry.tb_frame.f_code.co_filename.startswith(_OURS):
            entries.append(entry)
        entry = entry.tb_next
    for one, following in zip(entries, [*entries[1:], None]):
        one.tb_next = following
    return entries[0] if entries else None
