"""Places in a user's script: the file and line that a finding is about."""

from __future__ import annotations

import os
import sys
import sysconfig
from types import CodeType, FrameType
from typing import Any, Dict, Optional, Tuple

Place = Dict[str, Any]
"""``path``, ``line`` and ``text``, which is what is printed: ``train.py:42``."""

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LIBRARIES = tuple(
    os.path.abspath(path) + os.sep
    for path in {
        *(sysconfig.get_paths().get(name, "") for name in ("stdlib", "purelib", "platlib")),
        os.path.dirname(os.__file__),
    }
    if path
)
_TORCH = os.sep.join(("", "site-packages", "torch", ""))
_INSTALLED = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)


def caller_place(depth: int = 2) -> Optional[Place]:
    """Return the innermost frame of the user's own code above the caller; None without one.

    Frames of installed packages, of the standard library and of laptime are passed over: a
    library's line is not where a user changes something.
    """
    frame: Optional[FrameType] = sys._getframe(depth)
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return place_of(frame.f_code, frame.f_lineno)
        frame = frame.f_back
    return None


def place_of(code: CodeType, line: int) -> Place:
    """Return a line of code as a place."""
    path = os.path.abspath(code.co_filename)
    return {"path": path, "line": line, "text": f"{os.path.basename(path)}:{line}"}


def is_users(filename: str) -> bool:
    """Tell a file that belongs to the script from one that was installed or made up."""
    known = _KNOWN.get(filename)
    if known is None:
        known = _KNOWN[filename] = _is_users(filename)
    return known


_KNOWN: Dict[str, bool] = {}


def _is_users(filename: str) -> bool:
    if filename.startswith("<"):
        return False
    path = os.path.abspath(filename)
    if path.startswith(_OURS + os.sep) or any(part in path for part in _INSTALLED):
        return False
    return not path.startswith(_LIBRARIES)


class Tally:
    """How often, and for how long, each line did something; cheap enough for every step.

    Lines of torch itself are left out: nobody changes those.
    """

    def __init__(self) -> None:
        self._counts: Dict[Tuple[CodeType, int], int] = {}
        self._spent_ns: Dict[Tuple[CodeType, int], int] = {}

    def add(self, frame: FrameType, spent_ns: int = 0) -> None:
        """Count one more at the line that a frame is at."""
        key = frame.f_code, frame.f_lineno
        self._counts[key] = self._counts.get(key, 0) + 1
        if spent_ns:
            self._spent_ns[key] = self._spent_ns.get(key, 0) + spent_ns

    def rows(self) -> Any:
        """Return a row a line, the most frequent first."""
        rows = [
            {"place": place_of(*key), "count": count, "ns": self._spent_ns.get(key, 0)}
            for key, count in self._counts.items()
            if _TORCH not in key[0].co_filename
        ]
        return sorted(rows, key=lambda row: -int(row["count"]))
