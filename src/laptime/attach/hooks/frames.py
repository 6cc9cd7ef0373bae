"""Tracebacks as they are without us: an error that passes through a hook leaves none of its frames.

Since Python 3.11 a bare ``raise`` takes the traceback from the exception as it is, so a hook drops
its own entry and raises on. Before that it puts the entry back; there the entries are left out when
an uncaught error is printed.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any, Callable, List, Optional

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_EXACT = sys.version_info >= (3, 11)
_REPLACED: List[Callable[..., Any]] = []


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
    while entry is not None and entry.tb_frame.f_code.co_filename.startswith(_OURS):
        entry = entry.tb_next
    if entry is not None:
        entry.tb_next = without_ours(entry.tb_next)
    return entry
